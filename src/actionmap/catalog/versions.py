"""Definitions and their versions as they are stored, and entries of the audit."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from actionmap.catalog.documents import Document
from actionmap.catalog.lifecycle import Action, Entry, Step
from actionmap.catalog.models import Definition
from actionmap.catalog.models.base import DEFAULT_COMPANY
from actionmap.catalog.parse import parse_definition


class StoredDefinition(Struct, frozen=True, omit_defaults=True):
    """A definition as the store keeps it, now and as a former version."""

    #: Counts the writes of this definition from 1; its ETag.
    version: int
    kind: str
    #: What is in force, and the draft beside it.
    definition: dict[str, Any]
    draft: dict[str, Any] | None = None
    #: The version that put ``definition`` in force; 0: this one.
    in_force: int = 0
    #: When, in milliseconds since 1970, by which API key, and what was done.
    at: int = 0
    by: str = ""
    #: An `Action`, or a word of a newer version.
    action: str = "create"

    @property
    def company(self) -> str:
        """Whose it was."""
        return str(self.definition.get("company", DEFAULT_COMPANY))

    @property
    def written(self) -> dict[str, Any]:
        """What this version is about: the draft where it is one."""
        return self.draft if self.draft is not None and self.in_force not in (0, self.version) else self.definition


#: What is done to API keys, integrations, visitors, dead letters and halted partitions; to ``test`` is to send a
#: webhook or data action to try it out. No definition is written by these.
Act = Literal["create", "revoke", "pause", "resume", "probe", "test", "erase", "replay"]


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """Who did what to which definition, or to what else there is, and when."""

    at: int
    by: str
    #: An `Action` or an `Act`, or a word of a newer version.
    action: str
    kind: str
    name: str
    #: Whose it is; "" for nobody's.
    company: str
    #: The versions before and after; 0 for none.
    before: int = 0
    after: int = 0
    #: What else is worth knowing of an act; never a secret, nor who a visitor is.
    details: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(StoredDefinition)
_audit_decoder = msgspec.json.Decoder(AuditEntry)


def decode_stored(raw: bytes) -> StoredDefinition:
    """The definition that `encode_entry` wrote.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(raw)


def decode_audit(raw: bytes) -> AuditEntry:
    """The entry of the audit that was written so."""
    return _audit_decoder.decode(raw)


def entry_of(stored: StoredDefinition) -> Entry:
    """What is held of a definition.

    Raises:
        DefinitionError: this version of actionmap does not take it.
    """
    return Entry(
        definition=_parsed(stored.kind, stored.definition),
        version=stored.version,
        in_force=stored.in_force or stored.version,
        draft=None if stored.draft is None else _parsed(stored.kind, stored.draft),
        at=stored.at,
        by=stored.by,
        action=stored.action,
    )


def former_definition(stored: StoredDefinition) -> Definition:
    """What a former version said; raises as `entry_of` does."""
    return _parsed(stored.kind, stored.written)


def _parsed(kind: str, written: dict[str, Any]) -> Definition:
    return parse_definition(Document(data=written), kind)


def entry_after(before: Entry | None, step: Step, version: int, *, at: int, by: str) -> Entry:
    """What is held of a definition after ``step``, which makes it ``version``."""
    is_aside = before is not None and step.definition is before.definition
    return Entry(
        definition=step.definition,
        version=version,
        in_force=before.in_force if before is not None and is_aside else version,
        draft=step.draft,
        at=at,
        by=by,
        action=step.action,
    )


def stored_of(entry: Entry) -> StoredDefinition:
    """``entry`` as the store keeps it."""
    return StoredDefinition(
        version=entry.version,
        kind=entry.definition.kind_name,
        definition=entry.definition.as_stored(),
        draft=None if entry.draft is None else entry.draft.as_stored(),
        in_force=entry.in_force if entry.in_force != entry.version else 0,
        at=entry.at,
        by=entry.by,
        action=entry.action,
    )


def encode_entry(entry: Entry) -> bytes:
    """The stored form of ``entry``."""
    return msgspec.json.encode(stored_of(entry))


def audit_of(action: Action, definition: Definition, before: int, after: int, *, at: int, by: str) -> bytes:
    """The stored form of an entry of the audit."""
    return encode_audit(
        AuditEntry(at, by, action, definition.kind_name, definition.name, definition.company, before, after)
    )


def encode_audit(entry: AuditEntry) -> bytes:
    """The stored form of ``entry``."""
    return msgspec.json.encode(entry)
