"""What the go-live check answers: a list of named checks for each action map, each failure with its fix."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "fail", "warn", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of one action map."""

    name: str
    status: Status
    #: What was found.
    message: str
    #: What to do about it; "" when nothing is to be done.
    fix: str = ""


@dataclass(frozen=True, slots=True)
class GoLive:
    """All checks of one action map."""

    action_map: str
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """True when no check fails."""
        return not self.failing

    @property
    def failing(self) -> tuple[str, ...]:
        """Names of the checks that fail."""
        return tuple(check.name for check in self.checks if check.status == "fail")

    def as_json(self) -> dict[str, Any]:
        """The form that `check-golive --format json` prints and REST answers."""
        checks = [asdict(check) for check in self.checks]
        return {"actionMap": self.action_map, "ready": self.ready, "checks": checks}
