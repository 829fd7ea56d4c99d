"""Definitions in the store: one set with one revision, the former versions of each, and who changed what.

All keys lie in one slot, so that a change is one script: old or new, and never a mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any, NamedTuple, Protocol

from actionmap.errors import Conflict
from actionmap.store.connection import Connection

#: Entries of the audit that are kept: the newest.
MOST_AUDITED = 100_000


class Revision(NamedTuple):
    """One state of the definitions."""

    #: Grows with each write; 0 when there was none.
    number: int = 0
    #: Of the write that led to it: a store that has lost writes gives their numbers to others.
    token: str = ""


class Changes(NamedTuple):
    """What has become of the definitions."""

    revision: Revision
    #: Stored form by key ``Kind/name``; None for what was deleted.
    definitions: dict[str, bytes | None]
    #: Whether these are all definitions, and not only what has changed.
    whole: bool


class Audited(NamedTuple):
    """One entry of the audit."""

    #: ``<revision>-<number>``: entries are in the order of these pairs. What is told beside any write has the revision
    #: of the last one.
    id: str
    stored: bytes


class DefinitionStore(Protocol):
    """All definitions, as one set with one revision."""

    async def revision(self) -> Revision:
        """The revision of the stored set."""

    async def changes(self, since: Revision) -> Changes:
        """What is different from the revision ``since``, read in one step; everything, when that cannot be told."""

    async def write(
        self,
        expected: int,
        changed: Mapping[str, bytes],
        deleted: Sequence[str] = (),
        *,
        versions: Mapping[str, int] | None = None,
        audit: Sequence[bytes] = (),
        above: int = 0,
    ) -> int:
        """Change the set if it is still at revision ``expected``, all or nothing; returns the new revision.

        Args:
            expected: The revision that the change was made from.
            changed: Stored form by key.
            deleted: Keys.
            versions: The version so far of what is changed or deleted, by key; as that it is kept.
            audit: What people are told of the change.
            above: The new revision is greater than this one, too.

        Raises:
            Conflict: the set is at another revision.
        """

    async def former(self, key: str, versions: Sequence[int]) -> list[bytes | None]:
        """The stored forms that ``key`` had as those versions, before the present one; None where none is kept."""

    async def last_versions(self, keys: Sequence[str]) -> dict[str, int]:
        """The last version of those of ``keys`` that are deleted."""

    async def tell(self, entry: bytes) -> None:
        """Tell people of what was done beside any write, as the newest entry of the audit; the revision stays."""

    async def audit(self, *, before: str = "", limit: int) -> list[Audited]:
        """Up to ``limit`` entries, the newest first; with ``before``, those older than the entry with that id."""


class HoldsDefinitions(Protocol):
    """A store, as far as definitions are in it."""

    @property
    def definitions(self) -> DefinitionStore:
        """The definitions."""


class RedisDefinitions:
    """In Redis or Valkey; ``lua/write_definitions.lua`` writes all of it, and ``lua/tell.lua`` the audit alone."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def _keys(self, *names: str) -> list[str]:
        return [f"{self._prefix}:{{definitions}}:{name}" for name in names]

    async def revision(self) -> Revision:
        async with self._connection.translated():
            found = await self._connection.client.mget(self._keys("rev", "tok"))
        return Revision(int(found[0] or 0), (found[1] or b"").decode())

    async def changes(self, since: Revision) -> Changes:
        keys = self._keys("d", "rev", "tok", "log")
        number, token, extent, *found = await self._connection.call("changed_definitions", keys, list(since))
        if extent == b"all":
            [pairs] = found
            flat = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
        else:
            flat = zip(found[::2], found[1::2], strict=True)
        definitions = {key.decode(): value for key, value in flat}
        return Changes(Revision(int(number), token.decode()), definitions, whole=extent == b"all")

    async def write(
        self,
        expected: int,
        changed: Mapping[str, bytes],
        deleted: Sequence[str] = (),
        *,
        versions: Mapping[str, int] | None = None,
        audit: Sequence[bytes] = (),
        above: int = 0,
    ) -> int:
        known = versions or {}
        args: list[Any] = [expected, token_hex(16), above, MOST_AUDITED, len(changed), len(deleted)]
        for key, stored in changed.items():
            args += (key, known.get(key, ""), stored)
        for key in deleted:
            args += (key, known.get(key, ""))
        keys = self._keys("d", "rev", "tok", "log", "v", "last", "a")
        status, revision = await self._connection.call("write_definitions", keys, [*args, *audit])
        if status == b"conflict":
            raise _conflict(revision, expected)
        return int(revision)

    async def former(self, key: str, versions: Sequence[int]) -> list[bytes | None]:
        return await self._hmget("v", [f"{key}@{version}" for version in versions])

    async def last_versions(self, keys: Sequence[str]) -> dict[str, int]:
        found = await self._hmget("last", keys)
        return {key: int(number) for key, number in zip(keys, found, strict=True) if number is not None}

    async def _hmget(self, name: str, fields: Sequence[str]) -> list[bytes | None]:
        if not fields:
            return []
        async with self._connection.translated():
            found: list[bytes | None] = await self._connection.client.hmget(*self._keys(name), list(fields))
        return found

    async def tell(self, entry: bytes) -> None:
        await self._connection.call("tell", self._keys("rev", "a"), [token_hex(16), MOST_AUDITED, entry])

    async def audit(self, *, before: str = "", limit: int) -> list[Audited]:
        if before and _place(before) == (0, 0):
            return []  # no interval ends before it, says Redis
        newest = f"({before}" if before else "+"
        async with self._connection.translated():
            found = await self._connection.client.xrevrange(*self._keys("a"), max=newest, count=limit)
        return [Audited(id_.decode(), fields[b"e"]) for id_, fields in found]


class MemoryDefinitions:
    """The in-memory twin."""

    def __init__(self) -> None:
        self._definitions: dict[str, bytes] = {}
        self._former: dict[str, bytes] = {}
        self._last: dict[str, int] = {}
        self._audit: list[Audited] = []
        #: Each write's revision, and the keys it changed; what was there before any write is the first.
        self._writes: list[tuple[Revision, list[str]]] = [(Revision(), [])]

    async def revision(self) -> Revision:
        return self._writes[-1][0]

    async def changes(self, since: Revision) -> Changes:
        newest = await self.revision()
        known = [revision for revision, _ in self._writes]
        if since not in known:
            return Changes(newest, dict(self._definitions), whole=True)
        later = self._writes[known.index(since) + 1 :]
        return Changes(newest, {key: self._definitions.get(key) for _, keys in later for key in keys}, whole=False)

    async def write(
        self,
        expected: int,
        changed: Mapping[str, bytes],
        deleted: Sequence[str] = (),
        *,
        versions: Mapping[str, int] | None = None,
        audit: Sequence[bytes] = (),
        above: int = 0,
    ) -> int:
        number = self._writes[-1][0].number
        if expected != number:
            raise _conflict(number, expected)
        number = max(number, above) + 1
        for key, version in (versions or {}).items():
            if key in self._definitions and (key in changed or key in deleted):
                self._former[f"{key}@{version}"] = self._definitions[key]
        self._definitions.update(changed)
        for key in changed:
            self._last.pop(key, None)
        for key in deleted:
            self._definitions.pop(key, None)
            if versions and key in versions:
                self._last[key] = versions[key]
        self._audit += [Audited(f"{number}-{index}", entry) for index, entry in enumerate(audit, 1)]
        self._writes.append((Revision(number, token_hex(8)), [*changed, *deleted]))
        return number

    async def former(self, key: str, versions: Sequence[int]) -> list[bytes | None]:
        return [self._former.get(f"{key}@{version}") for version in versions]

    async def last_versions(self, keys: Sequence[str]) -> dict[str, int]:
        return {key: self._last[key] for key in keys if key in self._last}

    async def tell(self, entry: bytes) -> None:
        revision, number = _place(self._audit[-1].id) if self._audit else (0, 0)
        newest = max(revision, self._writes[-1][0].number)
        self._audit.append(Audited(f"{newest}-{number + 1 if newest == revision else 0}", entry))

    async def audit(self, *, before: str = "", limit: int) -> list[Audited]:
        found = [entry for entry in self._audit if not before or _place(entry.id) < _place(before)]
        return found[::-1][:limit]


def _place(id_: str) -> tuple[int, int]:
    revision, _, number = id_.partition("-")
    return int(revision), int(number)


def _conflict(found: int, expected: int) -> Conflict:
    return Conflict(f"the definitions are at revision {found}, not {expected}")
