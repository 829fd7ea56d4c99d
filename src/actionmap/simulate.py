"""What would fire over recorded events: the same decisions as live, in event time, sending nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from actionmap.catalog.models import ActionMap, Definition, Integration, Webhook
from actionmap.catalog.rulebook import Rulebook
from actionmap.catalog.templates import shown_base_url
from actionmap.consume.parse import Record, event_of, outcome_asked
from actionmap.decide import Policy, Timeline
from actionmap.decision import Decision
from actionmap.delivery import Delivery
from actionmap.errors import Rejected
from actionmap.event import RESERVED_EVENTS, Event, to_millis, to_rfc3339
from actionmap.visitor import Visitor
from actionmap.wire import parse_and_count

MASK = "***"
_TOLD_EVERY = 1000

#: Told an event, its visitor before it, and the stream time before it.
OnEvent = Callable[[Event, Visitor | None, int], None]


@dataclass(slots=True)
class Simulation:
    """What a simulation has found."""

    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Map → reason → how often.
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    #: Owed deliveries, by event time, then in the order of the input.
    deliveries: list[Delivery] = field(default_factory=list)
    #: What maps in shadow mode would owe, in the same order.
    shadowed: list[Delivery] = field(default_factory=list)
    #: Mapping (``map/field``) → how often its lookup had no value.
    missing_lookups: Counter[str] = field(default_factory=Counter)
    #: (line, reason, detail) of the lines that are no events.
    bad_lines: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, decision: Decision) -> None:
        """Take over what one event or timer has led to."""
        self.events += decision.outcome not in ("timer", "expiry")
        self.outcomes[decision.outcome] += 1
        for verdict in decision.verdicts:
            self.verdicts.setdefault(verdict.action_map, Counter())[verdict.reason] += 1
        self.deliveries.extend(decision.deliveries)
        self.shadowed.extend(decision.shadowed)
        self.missing_lookups.update(f"{one.action_map}/{field}" for one in decision.looked_up for field in one.missing)


def simulate(
    rulebook: Rulebook,
    lines: Iterable[tuple[int, bytes]],
    *,
    source: str,
    policy: Policy,
    on_progress: Callable[[int], None] = lambda _: None,
    on_event: OnEvent | None = None,
    on_decision: Callable[[Event, Decision], None] | None = None,
) -> Simulation:
    """Run ``lines`` through ``rulebook`` as if they were one partition.

    Args:
        rulebook: The maps to judge by.
        lines: Line number, counted from 1, and one event as JSON; the record's time is the event's ``timestamp``.
        source: Name of the input; an event without an id is ``source/0/line``.
        policy: Session time-out, lateness and company.
        on_progress: Told the line number, now and then.
        on_event: Told each event before it is decided on.
        on_decision: Told each event and timer, and what it led to.
    """
    simulation = Simulation()
    for event, decision in decisions(rulebook, lines, source=source, policy=policy, bad_lines=simulation.bad_lines,
                                     on_progress=on_progress, on_event=on_event):  # fmt: skip
        simulation.add(decision)
        if on_decision is not None:
            on_decision(event, decision)
    for found in (simulation.deliveries, simulation.shadowed):
        found.sort(key=lambda delivery: delivery.at)
    return simulation


def decisions(
    rulebook: Rulebook,
    lines: Iterable[tuple[int, bytes]],
    *,
    source: str,
    policy: Policy,
    bad_lines: list[tuple[int, str, str]],
    on_progress: Callable[[int], None],
    on_event: OnEvent | None,
) -> Iterator[tuple[Event, Decision]]:
    """Each event and timer, in order, and what it leads to; see `simulate`."""
    timeline = Timeline(rulebook, policy, -1, {})
    for number, line in lines:
        if number % _TOLD_EVERY == 0:
            on_progress(number)
        if not line.strip():
            continue
        try:
            event = recorded_event(source, number, line)
        except Rejected as why:
            bad_lines.append((number, why.reason, why.detail))
            continue
        if timeline.timers:
            yield from timeline.run_timers(event.time - 1, event.recorded_at)
        if on_event is not None:
            on_event(event, timeline.visitors.get(event.visitor_id), timeline.stream_time)
        yield event, timeline.take(event)
        if timeline.timers:
            yield from timeline.run_timers(timeline.stream_time, event.recorded_at)
    while timeline.next_due is not None:
        yield from timeline.run_timers(timeline.next_due, timeline.next_due)


def recorded_event(source: str, number: int, line: bytes) -> Event:
    """The event that was recorded in a line.

    Raises:
        Rejected: it is none, or has no timestamp.
    """
    wire, unknown = parse_and_count(line, reserved=RESERVED_EVENTS)
    if wire.timestamp is None:
        raise Rejected("no-timestamp", "a recorded event needs its timestamp")
    record = Record(source, 0, number, to_millis(wire.timestamp), None, line)
    return outcome_asked(event_of(record, wire, unknown).event)


class Difference(NamedTuple):
    """One firing that two sets of definitions do not have in common."""

    change: Literal["appears", "disappears", "changes"]
    #: As it is in the first set; in the second one where it disappears.
    delivery: Delivery


def differences(first: Simulation, second: Simulation) -> list[Difference]:
    """What fires by ``first`` and not by ``second``, or the other way round, or with another request; by time."""
    ours, theirs = ({(one.id, one.at): one for one in some.deliveries} for some in (first, second))
    found = [Difference("appears" if key not in theirs else "changes", one) for key, one in ours.items()
             if key not in theirs or _request(one) != _request(theirs[key])]  # fmt: skip
    found += [Difference("disappears", one) for key, one in theirs.items() if key not in ours]
    return sorted(found, key=lambda one: one.delivery.at)


def _request(delivery: Delivery) -> tuple[Any, ...]:
    return delivery.integration, delivery.method, delivery.target, delivery.headers, delivery.body, delivery.context


class Coverage(NamedTuple):
    """For how many of a map's firings one of its lookups had a value."""

    action_map: str
    field: str
    lookup: str
    found: int
    firings: int


def coverage(simulation: Simulation, definitions: Mapping[str, Definition]) -> list[Coverage]:
    """The lookups of every map that fired, or would have if a required one had had its value."""
    rows = []
    for name, counts in sorted(simulation.verdicts.items()):
        firings = sum(counts[reason] for reason in ("fired", "shadow", "unrenderable", "lookup-missing"))
        action_map = definitions.get(f"ActionMap/{name}")
        if not firings or not isinstance(action_map, ActionMap):
            continue
        webhook = definitions[f"Webhook/{action_map.action.webhook}"]
        assert isinstance(webhook, Webhook)
        for field_name, mapping in webhook.mappings.items():
            if mapping.lookup is not None:
                missing = simulation.missing_lookups[f"{name}/{field_name}"]
                rows.append(Coverage(name, field_name, mapping.lookup, firings - missing, firings))
    return rows


def firing(delivery: Delivery, integration: Integration | None) -> dict[str, Any]:
    """One firing as `simulate --format jsonl` prints it; secrets are masked."""
    base = shown_base_url(integration.base_url, delivery.context).rstrip("/") if integration else ""
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
        case {"type": "bearer" | "oauth2ClientCredentials"}:
            return {"Authorization": f"Bearer {MASK}"}
        case {"type": "apiKey", "header": header}:
            return {header: MASK}
        case _:
            return {}
