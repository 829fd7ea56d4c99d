"""Every error that actionmap raises on purpose, in one tree. Each says what happens next.

ActionmapError
├── SettingsError        it will not start: a setting is missing or wrong
├── Unreachable          a part it needs does not answer: what, where, what to do
├── DefinitionError      the author of a definition must fix it: findings with file and line
│   └── LifecycleError   its state does not allow it
├── RevisionRefused      this version has no use for the stored definitions: run the one that wrote them
├── Conflict             somebody else changed it meanwhile: read again, then retry
├── NotFound             there is no such thing
├── Rejected             a record becomes a dead letter, with its reason
├── Unrenderable         a request cannot be built from its values: the delivery is dead at birth
├── Stuck                this worker does not advance and ends, to be started again
└── PartitionHalted      a partition stops because going on would be a guess
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class ActionmapError(Exception):
    """Base of all errors that actionmap raises on purpose."""


class SettingsError(ActionmapError):
    """A setting is missing or wrong; the message names it and says what it takes."""


class Unreachable(ActionmapError):
    """A part outside the process does not answer; the message says what, where and what to do."""


class RevisionRefused(ActionmapError):
    """This version of actionmap has no use for the newest stored definitions, so nothing can be changed from them."""


class Conflict(ActionmapError):
    """Somebody else changed the same thing meanwhile; read it again and retry."""


class NotFound(ActionmapError):
    """There is no definition, visitor or delivery of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with, or suspicious in, a definition."""

    message: str
    #: File the definition was read from, "" when it came over REST.
    file: str = ""
    #: Line in that file, counted from 1; 0 when unknown.
    line: int = 0
    #: Dotted path inside the definition, e.g. ``trigger.all.0.operator``.
    path: str = ""
    #: Kind and name of the definition, e.g. ``ActionMap pricing-hot-lead``.
    subject: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        where = ": ".join(part for part in (self.subject, self.path) if part)
        return f"{place}{self.severity}: {where + ': ' if where else ''}{self.message}"


class DefinitionError(ActionmapError):
    """One or more definitions are wrong; ``findings`` holds all of them at once."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


class LifecycleError(DefinitionError):
    """The state that a definition is in does not allow what was asked of it."""


class Rejected(ActionmapError):
    """A record that is not an event: it becomes a dead letter with ``reason`` (a fixed word) and ``detail``."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class Unrenderable(ActionmapError):
    """A request cannot be built from its values; the delivery is dead at birth and kept as a dead letter."""


class Stuck(ActionmapError):
    """This worker lags and does not advance although nothing holds it up; it ends, to be started again."""


class FenceMoved(ActionmapError):
    """The fence of a partition holds another token than its worker left: ``owner`` has claimed it since, or the store
    lost its last writes."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(f"the partition's fence was moved by {owner or 'nobody known'}")


class PartitionHalted(ActionmapError):
    """A partition stops because going on would be a guess.

    ``reason`` is a fixed word (`consume.positions.HaltReason`); the message says why and what to do.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)
