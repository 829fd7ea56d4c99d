"""All definitions and the Rulebook they compile to, as the store holds them: read by workers, changed by the API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.rulebook import Rulebook
from actionmap.catalog.sealing import rotated, sealed
from actionmap.errors import ActionmapError, DefinitionError
from actionmap.process import collector_paused, keep_from_collector
from actionmap.store.definitions import Changes, HoldsDefinitions, Revision
from actionmap.telemetry import logger
from actionmap.vault import Vault

#: Definitions, and the version of each, by key ``Kind/name``.
Definitions = dict[str, Definition]
Versions = dict[str, int]

#: More definitions than this are not left to Python's collector to go through again and again.
_MANY = 1_000


class StoredDefinition(msgspec.Struct, frozen=True):
    """A definition as the store keeps it."""

    #: Counts the writes of this definition from 1; its ETag.
    version: int
    kind: str
    definition: dict[str, Any]


_decoder = msgspec.json.Decoder(StoredDefinition)


class Registry:
    """The definitions of one store, as last read; ``rulebook`` is swapped as a whole.

    Compiling goes on in a thread, so that a process goes on evaluating meanwhile; what has not changed is taken over.
    """

    def __init__(self, store: HoldsDefinitions, vault: Vault | None = None) -> None:
        """Args:
        store: Keeps the definitions.
        vault: Encrypts the secrets in them; without it definitions that hold one are refused.
        """
        self._store = store.definitions
        self._vault = vault or Vault()
        self._log = logger("registry")
        self._refreshing = asyncio.Lock()
        #: What is in use, and what was seen last: a revision that is refused is not read again and again.
        self._in_use = self._seen = Revision()
        self.definitions: Mapping[str, Definition] = {}
        self.versions: Mapping[str, int] = {}
        self.rulebook: Rulebook = compile_rulebook({})
        #: Why the newest revision is not in use; "" when it is.
        self.refused = ""

    @property
    def revision(self) -> int:
        """The revision in use."""
        return self.rulebook.revision

    async def refresh(self) -> bool:
        """Take over the newest revision of the store; True when there was one.

        A revision that does not compile is refused as a whole, and the last good one stays in use.

        Raises:
            Unreachable: the store does not answer.
        """
        if await self._store.revision() == self._seen:
            return False
        async with self._refreshing:
            changes = await self._store.changes(self._in_use)
            if changes.revision == self._in_use:
                # Somebody else has taken it over here, or the store has lost the one that was refused.
                self._seen, self.refused = self._in_use, ""
                return False
            try:
                taken = await asyncio.to_thread(self._taken_over, changes)
            except (DefinitionError, msgspec.DecodeError) as error:
                self._refuse(changes.revision, str(error))
                return False
            self._swap(*taken)
            self._seen = self._in_use = changes.revision
            if len(changes.definitions) > _MANY:
                keep_from_collector()
        return True

    def _taken_over(self, changes: Changes) -> tuple[Definitions, Versions, Rulebook]:
        with collector_paused() if len(changes.definitions) > _MANY else nullcontext():
            return self._read(changes)

    def _read(self, changes: Changes) -> tuple[Definitions, Versions, Rulebook]:
        definitions: Definitions = {} if changes.whole else dict(self.definitions)
        versions: Versions = {} if changes.whole else dict(self.versions)
        for key, raw in changes.definitions.items():
            if raw is None:
                definitions.pop(key, None)
                versions.pop(key, None)
                continue
            entry = _decoder.decode(raw)
            definitions[key] = parse_definition(Document(data=entry.definition), entry.kind)
            versions[key] = entry.version
        return definitions, versions, compile_rulebook(definitions, changes.revision.number, versions, self.rulebook)

    def _refuse(self, revision: Revision, reason: str) -> None:
        if self.refused != reason:
            self._log.error("rulebook.refused", revision=revision.number, in_use=self.revision, reason=reason)
        self.refused, self._seen = reason, revision

    def _swap(self, definitions: Definitions, versions: Versions, rulebook: Rulebook) -> None:
        if rulebook.revision < self.revision:
            self._log.error("rulebook.went_back", revision=rulebook.revision, from_revision=self.revision,
                            means="the store lost definitions; apply them again")  # fmt: skip
        self.definitions, self.versions, self.rulebook, self.refused = definitions, versions, rulebook, ""
        self._log.info("rulebook.loaded", revision=rulebook.revision, maps=len(rulebook.maps),
                       hash=rulebook.content_hash[:12])  # fmt: skip

    async def tidy(self) -> bool:
        """Merge the layers that changes have left in the index, when there are many; True when there were."""
        index = self.rulebook.index
        if not index.overgrown:
            return False
        merged = await asyncio.to_thread(index.merged)
        async with self._refreshing:
            newest = self.rulebook.index
            if newest is not index:
                merged = await asyncio.to_thread(merged.brought_to, newest)
            # The conditions of definitions that are gone go with them.
            parts = replace(self.rulebook.parts, conditions={})
            self.rulebook = replace(self.rulebook, index=merged, parts=parts)
        keep_from_collector()
        return True

    def sealed(self, wanted: Mapping[str, Definition]) -> Mapping[str, Definition]:
        """``wanted`` as it would be stored: secrets encrypted, masks replaced by what they keep.

        Raises:
            DefinitionError: there is no key to encrypt with, or a mask stands for nothing.
        """
        return sealed(wanted, self.definitions, self._vault)

    def opens_secret(self, stored: str) -> bool:
        """Whether a key opens the secret that is stored so."""
        return self._vault.can_open(stored)

    async def rotate_secrets(self) -> int:
        """Encrypt every stored secret anew that another key than the first one opens; returns in how many definitions.

        Raises:
            SettingsError: one was encrypted with a key that is not there.
            ActionmapError: as `change`.
        """
        changed = rotated(self.definitions, self._vault)
        if changed:
            await self.write(changed, frozenset())
        return len(changed)

    async def change(self, changed: Mapping[str, Definition], deleted: frozenset[str] = frozenset()) -> int:
        """Write ``changed`` and delete ``deleted``, all or nothing; returns the new revision.

        Raises:
            DefinitionError: the set as it would be then does not compile, or a secret cannot be encrypted.
            ActionmapError: the newest stored set does not compile here, so nothing can be changed from it.
            Conflict: somebody else changed the set since it was read here.
            Unreachable: the store does not answer.
        """
        return await self.write(await asyncio.to_thread(self.sealed, changed), deleted)

    async def write(self, changed: Mapping[str, Definition], deleted: frozenset[str]) -> int:
        """`change`, with ``changed`` as `sealed` has returned it."""
        if self.refused:
            raise ActionmapError(f"the stored definitions are of no use to this version: {self.refused}")
        from_revision = self.revision
        stored = await asyncio.to_thread(self._checked, changed, deleted)
        revision = await self._store.write(from_revision, stored, sorted(deleted))
        await self.refresh()
        return revision

    def _checked(self, changed: Mapping[str, Definition], deleted: frozenset[str]) -> dict[str, bytes]:
        """The stored forms of ``changed``, when the set as it would be then compiles."""
        after = {key: value for key, value in self.definitions.items() if key not in deleted} | dict(changed)
        versions = {key: self.versions.get(key, 0) + 1 for key in changed}
        compile_rulebook(after, self.revision + 1, {**self.versions, **versions}, self.rulebook)
        return {
            key: msgspec.json.encode(StoredDefinition(versions[key], definition.kind_name, definition.as_stored()))
            for key, definition in changed.items()
        }
