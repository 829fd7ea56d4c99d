"""What changed definitions, over REST: the audit, and whole sets as `plan` and `apply` speak them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from actionmap.admin.schemas import EXAMPLE_TIME, Moment, Shown
from actionmap.admin.schemas.definitions import EXAMPLES
from actionmap.catalog.lifecycle import Action
from actionmap.catalog.versions import Act

#: A definition as its author writes it, and its kind.
_Written = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/AnyDefinition"})]
_WrittenOrNull = Annotated[
    dict[str, Any] | None,
    WithJsonSchema({"anyOf": [{"$ref": "#/components/schemas/AnyDefinition"}, {"type": "null"}]}),
]


class ChangedVersions(Shown):
    """The numbers of the versions before and after a change."""

    before: int | None
    """Null where it was created."""
    after: int | None
    """Null where it was deleted."""


class AuditedChange(Shown):
    """One change of one definition, or one other thing that was done."""

    id: Annotated[str, Field(examples=["17-1"])]
    """Its place in the audit, as `before` takes it."""
    at: Moment
    """When it was done."""
    by: str | None
    """The name of the API key that did it."""
    action: Action | Act
    """What was done."""
    kind: str
    """The kind of the definition; or `ApiKey`, `Visitor`, `DeadLetter`, `Partition`."""
    name: str
    """What it is called: of a visitor `sha256:` and the SHA-256 of the id in hexadecimal, of dead letters that were
    replayed by what they have in common `*`."""
    company: str | None
    """Whose it is; null: nobody's, and then only keys of no company see it."""
    before: _WrittenOrNull
    """What the definition said before; null where it was created, the version is kept no more, or it is no change."""
    after: _WrittenOrNull
    """What it said then; null where it was deleted, the version is kept no more, or it is no change."""
    versions: ChangedVersions
    """The numbers of both."""
    details: dict[str, Any] | None
    """What else there is to say of it: the `rights` of a key, the `policy` a partition goes on by, `outcome` and
    `status` of what was sent to try it out, how many dead letters were `replayed`, and which were asked for; a visitor
    as in `name`. Null where there is nothing."""


class AuditPage(Shown):
    """A page of the audit."""

    items: list[AuditedChange]
    """The changes, the newest first."""
    next: str | None
    """What `before` is for the next page; null on the last one."""


class DefinitionSet(Shown):
    """All definitions."""

    definitions: list[_Written]
    """Each with its kind."""


class HeldSet(DefinitionSet):
    """All definitions that are in force, as far as the key may see them."""

    revision: int
    """Counts the changes of all definitions together."""


class PlannedChange(Shown):
    """What happens to one definition."""

    action: Action | Literal["unchanged"]
    """What is done."""
    kind: str
    """Its kind."""
    name: str
    """Its name."""
    diff: list[str]
    """A unified difference of its YAML, line by line."""


class AppliedSet(Shown):
    """What a set has changed, or would."""

    revision: int
    """The revision then; with `dryRun`, the one that it was compared with."""
    changes: list[PlannedChange]
    """For each definition, in the order in which they depend on each other."""


class RotatedSecrets(Shown):
    """What was encrypted anew."""

    integrations: int
    """How many integrations' secrets were."""
    revision: int
    """The revision then."""


_ALL = list(EXAMPLES.values())
SET = {"definitions": _ALL}
HELD_SET = {"revision": 17, "definitions": _ALL}
APPLIED = {
    "revision": 18,
    "changes": [{"action": "create", "kind": "Segment", "name": "regular", "diff": ["+ kind: Segment"]}],
}
ROTATED = {"integrations": 1, "revision": 18}
AUDIT = {
    "items": [{
        "id": "17-2", "at": EXAMPLE_TIME, "by": "admin", "action": "create", "kind": "ApiKey",
        "name": "deploy-pipeline", "company": None, "before": None, "after": None,
        "versions": {"before": None, "after": None}, "details": {"rights": ["edit", "read"]},
    }, {
        "id": "17-1", "at": EXAMPLE_TIME, "by": "deploy-pipeline", "action": "create", "kind": "Segment",
        "name": "regular", "company": "default", "before": None, "after": EXAMPLES["Segment"],
        "versions": {"before": None, "after": 1}, "details": None,
    }],
    "next": None,
}  # fmt: skip
