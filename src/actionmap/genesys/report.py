"""What became of each resource: imported, imported with open decisions, or not and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actionmap.errors import Finding
from actionmap.genesys.reading import Resource


class NotImported(Exception):
    """A resource that cannot be expressed; the message says why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody has to decide: where it stands in a definition, and what to do."""

    definition: str
    path: str
    todo: str


@dataclass(slots=True)
class Draft:
    """A definition in the making, with what is open about it."""

    kind: str
    fields: dict[str, Any]
    source: Resource
    decisions: list[Decision] = field(default_factory=list)
    #: What is good to know, and nothing to decide.
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.fields['name']}"

    def decide(self, path: str, todo: str) -> None:
        """Leave something open."""
        self.decisions.append(Decision(self.key, path, todo))


@dataclass(slots=True)
class Outcome:
    """What became of one resource; ``reason``: why it was not imported."""

    resource: Resource
    definitions: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def status(self) -> str:
        """``imported``, ``decide`` or ``notImported``."""
        return "notImported" if self.reason else "decide" if self.decisions else "imported"

    def as_json(self) -> dict[str, Any]:
        """The form that ``--format json`` prints."""
        decisions = [{"definition": one.definition, "path": one.path, "todo": one.todo} for one in self.decisions]
        return {
            "file": self.resource.file, "type": self.resource.type, "name": self.resource.label,
            "status": self.status, "definitions": self.definitions, "decisions": decisions, "notes": self.notes,
            "reason": self.reason,
        }  # fmt: skip


@dataclass(slots=True)
class Report:
    """The outcomes of all resources, how many of kinds that are none of ours, and what lint says of the result."""

    outcomes: Sequence[Outcome]
    #: Type of resource → how many; nothing of them bears on definitions.
    others: dict[str, int]
    findings: Sequence[Finding] = ()

    @property
    def complete(self) -> bool:
        """True when everything was imported."""
        return all(not outcome.reason for outcome in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """The form that ``--format json`` prints."""
        return {
            "complete": self.complete,
            "resources": [outcome.as_json() for outcome in self.outcomes],
            "otherResources": self.others,
            "findings": [str(finding) for finding in self.findings],
        }
