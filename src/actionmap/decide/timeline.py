"""Timeline: the events and timers of one partition in the order in which they happen (semantics §1, §9.1).

A timer fires when stream time reaches its due time: before an event of a later time, after the first event of exactly
that time. Visitors do not influence each other, so only a visitor's own order matters.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from actionmap.catalog.rulebook import LAST, Rulebook
from actionmap.decide.judge import decide, expire, fire
from actionmap.decide.policy import Policy
from actionmap.decision import Decision
from actionmap.event import Event
from actionmap.visitor import Visitor, Wait


class Timeline:
    """Moves visitors forward, event by event and timer by timer."""

    __slots__ = ("_number", "_policy", "_rulebook", "stream_time", "timers", "visitors")

    def __init__(self, rulebook: Rulebook, policy: Policy, stream_time: int, visitors: dict[str, Visitor]) -> None:
        """Begin at ``stream_time`` with ``visitors`` as they are then; every due one among them must be there."""
        self._rulebook = rulebook
        self._policy = policy
        #: Greatest event time processed, or what the clock made of it; in milliseconds since 1970, -1 at the start.
        self.stream_time = stream_time
        self.visitors = visitors
        #: (due, number, visitor id), a heap, numbered as they came; some may be over already.
        self.timers: list[tuple[int, int, str]] = []
        self._number = count()
        for visitor in visitors.values():
            self._expect(visitor)

    @property
    def next_due(self) -> int | None:
        """When the next timer is due; None without one."""
        return self.timers[0][0] if self.timers else None

    def take(self, event: Event) -> Decision:
        """What ``event`` leads to; timers due before it have been run, those that it makes due are still to be run."""
        before = self.visitors.get(event.visitor_id)
        decision = decide(event, before, self._rulebook, self.stream_time, self._policy)
        self.stream_time = max(self.stream_time, event.time)
        if decision.outcome == "erased":
            self.visitors.pop(event.visitor_id, None)
        elif decision.outcome != "duplicate":
            self.visitors[event.visitor_id] = decision.visitor
            due = decision.visitor.next_due
            # What is due at the same time as before stands in the heap already.
            if due is not None and (before is None or before.next_due != due):
                heapq.heappush(self.timers, (due, next(self._number), event.visitor_id))
        return decision

    def run_timers(self, until: int, owed_at: int) -> Iterator[tuple[Event, Decision]]:
        """Fire what is due at or before ``until``, in order; ``owed_at``: see `fire`. Does not move stream time."""
        while self.timers and self.timers[0][0] <= until:
            due, _, id_ = heapq.heappop(self.timers)
            visitor = self.visitors.get(id_)
            if visitor is None or visitor.next_due != due:
                continue  # erased; or cancelled, or fired already
            event, decision = self._next(visitor, due, owed_at)
            self.visitors[id_] = decision.visitor
            self._expect(decision.visitor)
            yield event, decision

    def _next(self, visitor: Visitor, due: int, owed_at: int) -> tuple[Event, Decision]:
        """What the first thing that is due at ``due`` leads to; memberships end before matches fire."""
        if visitor.look_at_segments == due:
            decision = expire(visitor, due, self._rulebook, owed_at, self._policy)
            return visitor.latest or Event("", "", visitor.id, due, owed_at), decision
        wait = min((wait for wait in visitor.waits if wait.due == due), key=self._rank)
        return wait.event, fire(wait, visitor, self._rulebook, owed_at, self._policy)

    def _rank(self, wait: Wait) -> tuple[tuple[int, str], str]:
        action_map = self._rulebook.by_name.get(wait.action_map)
        return (action_map.order if action_map else LAST), wait.action_map

    def _expect(self, visitor: Visitor) -> None:
        due = visitor.next_due
        if due is not None:
            heapq.heappush(self.timers, (due, next(self._number), visitor.id))
