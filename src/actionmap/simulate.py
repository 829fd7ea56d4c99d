"""What would fire over recorded events: the same decisions as live, in event time, sending nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from actionmap.catalog.models import Integration
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, Timeline
from actionmap.decision import Decision
from actionmap.delivery import Delivery
from actionmap.errors import Rejected
from actionmap.event import Event, to_millis, to_rfc3339
from actionmap.wire import parse_event

MASK = "***"


@dataclass(slots=True)
class Simulation:
    """What a simulation has found."""

    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Map → reason → how often.
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    #: Owed deliveries, by event time, then in the order of the input.
    deliveries: list[Delivery] = field(default_factory=list)
    #: Mapping (``map/field``) → how often its lookup had no value.
    missing_lookups: Counter[str] = field(default_factory=Counter)
    #: (line, reason, detail) of the lines that are no events.
    bad_lines: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, decision: Decision) -> None:
        """Take over what one event has led to."""
        self.events += decision.outcome != "timer"
        self.outcomes[decision.outcome] += 1
        for verdict in decision.verdicts:
            self.verdicts.setdefault(verdict.action_map, Counter())[verdict.reason] += 1
        self.deliveries.extend(decision.deliveries)
        self.missing_lookups.update(decision.missing_lookups)


def simulate(
    rulebook: Rulebook,
    lines: Iterable[tuple[int, bytes]],
    *,
    source: str,
    policy: Policy,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Simulation:
    """Run ``lines`` through ``rulebook`` as if they were one partition.

    Args:
        rulebook: The maps to judge by.
        lines: Line number, counted from 1, and one event as JSON; the record's time is the event's ``timestamp``.
        source: Name of the input; an event without an id is ``source/0/line``.
        policy: Session time-out, lateness and company.
        on_progress: Told the line number, now and then.
    """
    simulation = Simulation()
    timeline = Timeline(rulebook, policy, -1, {})
    for number, line in lines:
        if number % 1000 == 0:
            on_progress(number)
        if not line.strip():
            continue
        try:
            event = _event(source, number, line)
        except Rejected as why:
            simulation.bad_lines.append((number, why.reason, why.detail))
            continue
        for _, decision in timeline.run_timers(event.time - 1, event.recorded_at):
            simulation.add(decision)
        simulation.add(timeline.take(event))
        for _, decision in timeline.run_timers(timeline.stream_time, event.recorded_at):
            simulation.add(decision)
    while timeline.next_due is not None:
        for _, decision in timeline.run_timers(timeline.next_due, timeline.next_due):
            simulation.add(decision)
    simulation.deliveries.sort(key=lambda delivery: delivery.at)
    return simulation


def _event(source: str, number: int, line: bytes) -> Event:
    timestamp = parse_event(line).timestamp
    if timestamp is None:
        raise Rejected("no-timestamp", "a recorded event needs its timestamp")
    return parse_record(Record(source, 0, number, to_millis(timestamp), None, line)).event


def firing(delivery: Delivery, integration: Integration | None) -> dict[str, Any]:
    """One firing as `simulate --format jsonl` prints it; secrets are masked."""
    base = integration.base_url.rstrip("/") if integration else ""
    headers = {**delivery.headers, delivery.idempotency_header: delivery.id, "webhook-id": delivery.id}
    return {
        "actionMap": delivery.action_map,
        "visitorId": delivery.visitor_id,
        "eventId": delivery.event_id,
        "at": to_rfc3339(delivery.at),
        "request": {
            "method": delivery.method,
            "url": base + delivery.target,
            "headers": {**headers, **masked_credentials(integration)},
            "body": delivery.body,
        },
    }


def masked_credentials(integration: Integration | None) -> dict[str, str]:
    """The headers that authentication would add, without what is secret in them."""
    match integration.auth.as_written() if integration else {}:
        case {"type": "basic"}:
            return {"Authorization": f"Basic {MASK}"}
        case {"type": "bearer"}:
            return {"Authorization": f"Bearer {MASK}"}
        case {"type": "apiKey", "header": header}:
            return {header: MASK}
        case _:
            return {}
