"""`simulate --second-opinion`: every event on which our index and durable-rules disagree."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from rich.console import Console

from actionmap.catalog.models import Definition
from actionmap.catalog.rulebook import Rulebook
from actionmap.cli.output import shown
from actionmap.decide import Policy
from actionmap.decide.observe import observe
from actionmap.decision import Decision
from actionmap.event import RESERVED_EVENTS, Event
from actionmap.second_opinion import Referee
from actionmap.visitor import Visitor

_SHOWN = 100


class Opinions:
    """Both engines on the events of a simulation. A context manager: leaving it ends durable-rules' process."""

    def __init__(self, definitions: Mapping[str, Definition], rulebook: Rulebook, policy: Policy) -> None:
        """Compile the maps for durable-rules, too.

        Raises:
            ActionmapError: durable-rules is not installed.
        """
        self._rulebook = rulebook
        self._policy = policy
        self._referee = Referee(definitions, rulebook)
        self._before: tuple[Visitor | None, int] = (None, -1)
        #: Event id, map, and who of the two says that it matches.
        self._found: list[tuple[str, str, str]] = []

    def __enter__(self) -> Self:
        self._referee.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._referee.__exit__(kind, error, trace)

    def before(self, event: Event, visitor: Visitor | None, stream_time: int) -> None:
        """Note what ``event`` is decided by."""
        self._before = visitor, stream_time

    def after(self, event: Event, decision: Decision) -> None:
        """Let both judge ``event``, unless it is not judged at all."""
        if decision.outcome != "judged" or event.name in RESERVED_EVENTS:
            return
        visitor, stream_time = self._before
        scope = observe(visitor, event, self._rulebook, max(stream_time, event.time), self._policy)
        for one in self._referee.judge(scope):
            self._found.append((event.id, one.action_map, "actionmap" if one.ours else "durable-rules"))

    def show(self, console: Console) -> None:
        """Print what was found."""
        referee = self._referee
        console.print(f"second opinion by durable-rules: {referee.decisions:,} decisions on {referee.events:,} events "
                      f"compared, {len(self._found):,} disagreements")  # fmt: skip
        for event_id, action_map, matches in self._found[:_SHOWN]:
            console.print(f"  [red]✗[/] {shown(event_id)}: {shown(action_map)} matches for {matches} alone")
        if len(self._found) > _SHOWN:
            console.print(f"  … and {len(self._found) - _SHOWN:,} more")
        for name, why in sorted(referee.outside.items()):
            console.print(f"  [dim]not compared[/] {shown(name)}: {shown(why)}")
        for name, number in sorted(referee.undecided.items()):
            console.print(f"  [dim]not decided[/] {shown(name)}, {number:,} times: {shown(referee.reasons[name])}")


def opinions(
    definitions: Mapping[str, Definition], rulebook: Rulebook, policy: Policy, *, asked: bool
) -> AbstractContextManager[Opinions | None]:
    """`Opinions` when they are ``asked`` for."""
    return Opinions(definitions, rulebook, policy) if asked else nullcontext()
