"""All definitions and the Rulebook they compile to, as the store holds them: read by workers, changed by the API."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.lifecycle import Entries, Entry, Step, saved
from actionmap.catalog.models import Definition, Integration
from actionmap.catalog.rulebook import Rulebook
from actionmap.catalog.sealing import rotated, sealed
from actionmap.catalog.versions import (
    Act,
    AuditEntry,
    StoredDefinition,
    audit_of,
    decode_audit,
    decode_stored,
    encode_audit,
    encode_entry,
    entry_after,
)
from actionmap.errors import Conflict, DefinitionError, Finding, LifecycleError, RevisionRefused, Unreachable
from actionmap.process import collector_paused, keep_from_collector, wall_clock
from actionmap.store.definitions import Changes, HoldsDefinitions, Revision
from actionmap.takeover import Taken, taken_over, why_refused
from actionmap.telemetry import logger
from actionmap.vault import Vault

#: Definitions, and the version that is in force of each, by key ``Kind/name``.
Definitions = dict[str, Definition]
Versions = dict[str, int]

#: More definitions than this are not left to Python's collector to go through again and again.
_MANY = 1_000
#: How often a change is made anew from what somebody else has written meanwhile, and the longest rest before it.
_TRIES, _MOST_REST_S = 20, 1.0
#: Whose definition it is about is not told to who asks for a change of another.
_REFUSED = (
    "the stored definitions are of no use to this version of actionmap, so nothing can be changed by it; run the "
    "version that wrote them, or restore or delete there what this one does not take: /health/ready and the log name it"
)
NAME_TAKEN = "this name is taken by another company; names are unique in an installation"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the set: a step for each definition that is written, and what is deleted."""

    steps: Mapping[str, Step] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()


class _Base(NamedTuple):
    """What a change is made from."""

    revision: int
    entries: Entries


async def _nothing_judged() -> int:
    return 0


class Registry:
    """The definitions of one store, as last read; ``rulebook`` is swapped as a whole.

    Compiling goes on in a thread, so that a process goes on evaluating meanwhile; what has not changed is taken over.
    """

    def __init__(
        self,
        store: HoldsDefinitions,
        vault: Vault | None = None,
        *,
        judged_by: Callable[[], Awaitable[int]] = _nothing_judged,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        """Args:
        store: Keeps the definitions.
        vault: Encrypts the secrets in them; without it definitions that hold one are refused.
        judged_by: The highest revision that a partition was judged by; a new one is always greater, for the store may
            have lost definitions alone.
        clock: Wall time in milliseconds, for people.
        """
        self._store = store.definitions
        self._vault = vault or Vault()
        self._judged_by = judged_by
        self._clock = clock
        self._log = logger("registry")
        self._refreshing = asyncio.Lock()
        #: One change after the other is made here, so that only those of other processes are in each other's way.
        self._updating = asyncio.Lock()
        #: What is in use, and what was seen last: a revision that is refused is not read again and again.
        self._in_use = self._seen = Revision()
        self.definitions: Mapping[str, Definition] = {}
        self.versions: Mapping[str, int] = {}
        #: What is held of each definition: also its draft, and who wrote it.
        self.entries: Entries = {}
        self.rulebook: Rulebook = compile_rulebook({})
        #: Why the newest revision is not in use; "" when it is.
        self.refused = ""
        #: Names of integrations that were deleted, and of those that the store is to be asked about.
        self._deleted: set[str] = set()
        self._missing: set[str] = set()

    @property
    def revision(self) -> int:
        """The revision in use."""
        return self.rulebook.revision

    @property
    def has_none_to_use(self) -> bool:
        """Whether the newest revision is refused, and there is no last good one in its place."""
        return self.refused != "" and self._in_use == Revision()

    def integration(self, name: str) -> Integration | None:
        """The integration of that name, as defined now."""
        return self.rulebook.integrations.get(name)

    def was_deleted(self, name: str) -> bool:
        """Whether there is no integration of that name because it was deleted, and not because the store lost it.

        The store is asked at the next `refresh`; until then it is not known to be.
        """
        if name not in self._deleted:
            self._missing.add(name)
        return name in self._deleted

    async def _look_for_missing(self) -> None:
        missing, self._missing = {f"Integration/{name}": name for name in self._missing}, set()
        self._deleted.update(missing[key] for key in await self._store.last_versions(list(missing)))

    def of_kind(self, kind: str) -> list[Entry]:
        """What is held of the definitions of one kind."""
        prefix = f"{kind}/"
        return [entry for key, entry in self.entries.items() if key.startswith(prefix)]

    async def refresh(self) -> bool:
        """Take over the newest revision of the store; True when there was one.

        A revision that does not compile is refused as a whole, and the last good one stays in use.

        Raises:
            Unreachable: the store does not answer.
        """
        if self._missing:
            await self._look_for_missing()
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
            except DefinitionError as error:
                self._refuse(changes.revision, why_refused(error.findings))
                return False
            self._swap(taken)
            self._seen = self._in_use = changes.revision
            if len(changes.definitions) > _MANY:
                keep_from_collector()
        return True

    def _taken_over(self, changes: Changes) -> Taken:
        before = Taken(definitions=self.definitions, versions=self.versions, entries=self.entries,
                       rulebook=self.rulebook)  # fmt: skip
        with collector_paused() if len(changes.definitions) > _MANY else nullcontext():
            return taken_over(before, changes)

    def _refuse(self, revision: Revision, reason: str) -> None:
        if self.refused != reason:
            self._log.error("rulebook.refused", revision=revision.number, in_use=self.revision, reason=reason)
        self.refused, self._seen = reason, revision

    def _swap(self, taken: Taken) -> None:
        rulebook = taken.rulebook
        if rulebook.revision < self.revision:
            self._log.error("rulebook.went_back", revision=rulebook.revision, from_revision=self.revision,
                            means="the store lost definitions; apply them again")  # fmt: skip
        self.definitions, self.versions, self.entries = taken.definitions, taken.versions, taken.entries
        self.rulebook, self.refused = rulebook, ""
        self._deleted.difference_update(rulebook.integrations)
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

    async def rotate_secrets(self, by: str = "") -> int:
        """Encrypt every stored secret anew that another key than the first one opens; returns in how many definitions.

        Raises:
            SettingsError: one was encrypted with a key that is not there.
            ActionmapError: as `update`.
        """

        def rotate() -> Edit:
            return Edit({key: Step("change", some) for key, some in rotated(self.definitions, self._vault).items()})

        return len(await self.update(rotate, by))

    async def change(self, changed: Mapping[str, Definition], deleted: frozenset[str] = frozenset()) -> int:
        """Write ``changed``, which takes over at once, and delete ``deleted``, all or nothing; returns the revision.

        Raises:
            DefinitionError: the set as it would be then does not compile, a secret cannot be encrypted, or the state of
                a definition does not allow it.
            RevisionRefused: the newest stored set is of no use here, so nothing can be changed from it.
            Conflict: somebody else changed the set since it was read here.
            Unreachable: the store does not answer.
        """
        base = self._base()
        wanted = await asyncio.to_thread(self.sealed, changed)
        steps = {key: saved(base.entries.get(key), some, takes_over=True) for key, some in wanted.items()}
        await self._write(Edit({key: step for key, step in steps.items() if step is not None}, deleted), base)
        return self.revision

    async def update(self, make: Callable[[], Edit], by: str) -> dict[str, Entry]:
        """Take over the newest revision, let ``make`` say what changes, and write it: all of it, or nothing.

        When somebody else has written meanwhile, it is made anew, so that ``make`` may look at what is here and refuse.

        Args:
            make: Called in a thread, once or several times.
            by: The name of the API key that asks for it, for the audit.

        Returns:
            What is held of the definitions that were written; nothing when there was nothing to do.

        Raises:
            ActionmapError: as `change`, also when there is nothing to do, and whatever ``make`` raises.
        """
        async with self._updating:
            for turn in range(_TRIES):
                await self.refresh()
                base = self._base()
                edit = await asyncio.to_thread(make)
                if not edit.steps and not edit.deleted and await self._judged_by() <= base.revision:
                    return {}
                try:
                    return await self._write(edit, base, by)
                except Conflict:
                    # Another process was faster; two that rest alike would meet again.
                    await asyncio.sleep(random.uniform(0, _MOST_REST_S * turn / _TRIES))  # noqa: S311 - no secret
        raise Conflict("others change the definitions all the time")

    def _base(self) -> _Base:
        """What a change is made from: if it is not the newest any more when it is written, the store refuses it.

        Raises:
            RevisionRefused: the newest one is of no use here, and what is in use is older.
        """
        if self.refused:
            raise RevisionRefused(_REFUSED)
        return _Base(self.revision, self.entries)

    async def _write(self, edit: Edit, base: _Base, by: str = "") -> dict[str, Entry]:
        after = await self._checked(edit, base, by)
        await self._store.write(
            base.revision,
            {key: encode_entry(entry) for key, entry in after.items()},
            sorted(edit.deleted),
            versions={key: base.entries[key].version for key in (*after, *edit.deleted) if key in base.entries},
            audit=_audit(edit, base.entries, after, at=self._clock(), by=by),
            above=await self._judged_by(),
        )
        await self.refresh()
        return after

    async def try_out(self, make: Callable[[], Edit]) -> None:
        """Raise what `update` would, and change nothing."""
        await self.refresh()
        base = self._base()
        await self._checked(await asyncio.to_thread(make), base)

    async def _checked(self, edit: Edit, base: _Base, by: str = "") -> dict[str, Entry]:
        """What is held of the definitions that ``edit`` writes, when the set as it would be then is a good one."""
        gone = await self._store.last_versions([key for key in edit.steps if key not in base.entries])
        await self._check_names(edit, gone)
        return await asyncio.to_thread(self._after, edit, base, gone, by)

    async def _check_names(self, edit: Edit, gone: Mapping[str, int]) -> None:
        """Refuse the name of a deleted definition to another company: its versions and deliveries are kept by name."""
        findings = []
        for key, version in gone.items():
            former, wanted = (await self.former(key, [version])).get(version), edit.steps[key].definition
            if former is not None and former.company != wanted.company:
                findings.append(Finding(message=NAME_TAKEN, path="name", subject=key.replace("/", " ", 1)))
        if findings:
            raise LifecycleError(findings)

    def _after(self, edit: Edit, base: _Base, gone: Mapping[str, int], by: str) -> dict[str, Entry]:
        at = self._clock()
        after: dict[str, Entry] = {}
        for key, step in edit.steps.items():
            before = base.entries.get(key)
            version = before.version if before is not None else gone.get(key, 0)
            after[key] = entry_after(before, step, version + 1, at=at, by=by)
        self.check({key: entry for key, entry in {**base.entries, **after}.items() if key not in edit.deleted})
        return after

    def check(self, entries: Entries) -> None:
        """Compile what is in force in ``entries``, and what would be with all drafts published.

        Raises:
            DefinitionError: one of the two does not compile. What is wrong with drafts already is nobody's hindrance.
        """
        definitions = {key: entry.definition for key, entry in entries.items()}
        versions = {key: entry.in_force for key, entry in entries.items()}
        rulebook = compile_rulebook(definitions, self.revision + 1, versions, self.rulebook)
        drafts = {key: entry.draft for key, entry in entries.items() if entry.draft is not None}
        if drafts:
            try:
                compile_rulebook(definitions | drafts, previous=rulebook)
            except DefinitionError as error:
                known = self._findings_of_drafts()
                if new := [finding for finding in error.findings if finding not in known]:
                    raise DefinitionError(new) from None

    def _findings_of_drafts(self) -> tuple[Finding, ...]:
        """What is wrong already with the set as it would be with all drafts published."""
        drafts = {key: entry.draft for key, entry in self.entries.items() if entry.draft is not None}
        try:
            compile_rulebook({**self.definitions, **drafts}, previous=self.rulebook)
        except DefinitionError as error:
            return error.findings
        return ()

    async def former(self, key: str, versions: Sequence[int]) -> dict[int, StoredDefinition]:
        """Those of the former versions of ``key`` that are kept; the present one is in `entries`."""
        found = await self._store.former(key, versions)
        return {version: decode_stored(raw) for version, raw in zip(versions, found, strict=True) if raw is not None}

    async def last_version(self, key: str) -> int:
        """The last version of a definition that is deleted; 0 where there never was one."""
        return (await self._store.last_versions([key])).get(key, 0)

    async def tell(self, act: Act, kind: str, name: str, *, by: str, company: str = "", **details: Any) -> None:
        """Tell in the audit of what was done, once it is done; changes of definitions tell of themselves.

        Raises:
            Unreachable: the store does not take the entry; then the log has it.
        """
        entry = AuditEntry(self._clock(), by, act, kind, name, company, details=details)
        try:
            await self._store.tell(encode_audit(entry))
        except Unreachable as error:
            self._log.error("audit.lost", entry=msgspec.to_builtins(entry))
            raise Unreachable(
                f"{act} {kind} {name} is done, but missing in the audit (the log tells): {error}"
            ) from error

    async def audit(self, *, before: str = "", limit: int) -> list[tuple[str, AuditEntry]]:
        """Up to ``limit`` entries of the audit with their ids, the newest first, from before the one with that id."""
        return [(some.id, decode_audit(some.stored)) for some in await self._store.audit(before=before, limit=limit)]


def _audit(edit: Edit, before: Entries, after: Entries, *, at: int, by: str) -> list[bytes]:
    told = []
    for key, step in edit.steps.items():
        former = before[key].version if key in before else 0
        told.append(audit_of(step.action, step.definition, former, after[key].version, at=at, by=by))
    gone = [before[key] for key in sorted(edit.deleted & before.keys())]
    return told + [audit_of("delete", some.definition, some.version, 0, at=at, by=by) for some in gone]
