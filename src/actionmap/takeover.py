"""A revision of the definitions is taken over from the store: as a whole, or refused as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.lifecycle import Entries, Entry
from actionmap.catalog.models import KINDS, Definition
from actionmap.catalog.rulebook import Rulebook
from actionmap.catalog.versions import decode_stored, entry_of
from actionmap.errors import DefinitionError, Finding
from actionmap.store.definitions import Changes

#: What reading stored bytes raises that are no definition of ours.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: Findings that are told of a revision; one that another version wrote may have as many as definitions.
_MOST_TOLD = 5
_WHAT_TO_DO = "run the version of actionmap that wrote it, or restore or delete there what this one does not take"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The set of definitions that is in use."""

    #: What is in force, and the version of it, by key ``Kind/name``.
    definitions: Mapping[str, Definition]
    versions: Mapping[str, int]
    #: What is held of each definition: also its draft, and who wrote it.
    entries: Entries
    rulebook: Rulebook


def taken_over(before: Taken, changes: Changes) -> Taken:
    """``before`` with ``changes`` of the store; what has not changed is not compiled anew.

    Raises:
        DefinitionError: this version cannot use it; each finding names its definition.
    """
    entries = {} if changes.whole else dict(before.entries)
    definitions = {} if changes.whole else dict(before.definitions)
    versions = {} if changes.whole else dict(before.versions)
    findings: list[Finding] = []
    for key, raw in changes.definitions.items():
        if raw is None:
            for some in (entries, definitions, versions):
                some.pop(key, None)
            continue
        try:
            entry = entries[key] = _as_known(before.entries.get(key), _entry(key, raw))
        except DefinitionError as error:
            findings += error.findings
            continue
        definitions[key], versions[key] = entry.definition, entry.in_force
    if findings:
        raise DefinitionError(findings)
    rulebook = compile_rulebook(definitions, changes.revision.number, versions, before.rulebook)
    return Taken(definitions=definitions, versions=versions, entries=entries, rulebook=rulebook)


def why_refused(findings: Sequence[Finding]) -> str:
    """What is wrong with a revision, in one line of words for people, and what to do."""
    told = [str(finding) for finding in findings[:_MOST_TOLD]]
    more = [f"{len(findings) - _MOST_TOLD:,} more"] if len(findings) > _MOST_TOLD else []
    return f"{'; '.join(told + more)}; {_WHAT_TO_DO}"


def _entry(key: str, raw: bytes) -> Entry:
    """What the store holds under ``key``; raises DefinitionError that names it by that, whatever it holds."""
    subject = key.replace("/", " ", 1)
    try:
        stored = decode_stored(raw)
    except _UNREADABLE as error:
        raise DefinitionError([Finding(message=f"what is stored cannot be read: {error}", subject=subject)]) from None
    if stored.kind not in KINDS:
        raise DefinitionError([Finding(message=f"there is no kind {stored.kind!r}", path="kind", subject=subject)])
    try:
        return entry_of(stored)
    except DefinitionError as error:
        raise DefinitionError([replace(finding, subject=subject) for finding in error.findings]) from None


def _as_known(known: Entry | None, entry: Entry) -> Entry:
    """``entry`` with the very object that is in force already, so that nothing is compiled anew for a draft."""
    if known is None or known.in_force != entry.in_force or known.definition != entry.definition:
        return entry
    return replace(entry, definition=known.definition)
