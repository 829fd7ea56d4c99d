"""The sequential oracle: what a log must lead to, one event after the other; and the verdict on what a run led to."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple
from unittest.mock import patch

from cuts import REMEMBERED_IDS
from scenario import ADDED_MAP, ORDER_MAP

import actionmap.visitor
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, Timeline
from actionmap.decision import Decision
from actionmap.delivery import Delivery, outcome_of
from actionmap.errors import Rejected
from actionmap.evaluation import event_of_outcome
from actionmap.visitor import Visitor, decode_visitor, encode_visitor

POLICY = Policy(company="default", session_timeout_ms=20 * 60_000, allowed_lateness_ms=24 * 3_600_000, wait_grace_ms=0)


class Sent(NamedTuple):
    """One request, as the receiver saw it."""

    id: str
    method: str
    path: str
    body: str
    #: What it was answered; 0: nothing.
    status: int


@dataclass
class Expected:
    """What one partition leads to, if every event is judged once and in order."""

    deliveries: dict[str, Delivery] = field(default_factory=dict)
    #: Ids of the deliveries of the map that is added while the run lasts, in the order of the log.
    added: list[str] = field(default_factory=list)
    dead_records: set[str] = field(default_factory=set)
    visitors: dict[str, Visitor] = field(default_factory=dict)
    end: int = 0


def expect(records: Sequence[Record], rulebook: Rulebook) -> Expected:
    """What ``records`` of one partition lead to by ``rulebook``; where it changes meanwhile, by the newer one."""
    with patch.object(actionmap.visitor, "REMEMBERED_IDS", REMEMBERED_IDS):
        return _expect(records, rulebook)


def _expect(records: Sequence[Record], rulebook: Rulebook) -> Expected:
    expected, timeline = Expected(end=len(records)), Timeline(rulebook, POLICY, -1, {})
    for record in records:
        try:
            event = parse_record(record).event
        except Rejected:
            expected.dead_records.add(record.position)
            continue
        decisions = [decision for _, decision in timeline.run_timers(event.time - 1, event.recorded_at)]
        decisions.append(timeline.take(event))
        decisions += [decision for _, decision in timeline.run_timers(timeline.stream_time, event.recorded_at)]
        _take(expected, decisions)
    _hear_outcomes(expected, timeline)
    expected.visitors = {id_: decode_visitor(encode_visitor(one)) for id_, one in timeline.visitors.items()}
    return expected


def _hear_outcomes(expected: Expected, timeline: Timeline) -> None:
    """Each order that was told has an outcome, whenever it comes; they touch nothing that events look at."""
    told = [delivery for delivery in expected.deliveries.values() if delivery.action_map == ORDER_MAP]
    for delivery in told:
        outcome = outcome_of(delivery, "webhook_succeeded", 0, 200)
        _take(expected, [timeline.take(event_of_outcome(outcome, timeline.stream_time))])


def _take(expected: Expected, decisions: Sequence[Decision]) -> None:
    for delivery in (delivery for decision in decisions for delivery in decision.deliveries):
        expected.deliveries[delivery.id] = delivery
        if delivery.action_map == ADDED_MAP:
            expected.added.append(delivery.id)


@dataclass
class Found:
    """What one partition holds in the end."""

    fence: int
    owed: int
    owed_by_integration: dict[str, int]
    timers: int
    dead: dict[str, str]
    visitors: dict[str, Visitor | None]


def judge_sent(expected: Sequence[Expected], sent: Sequence[Sent]) -> list[str]:
    """What is wrong with the requests that came in."""
    wrong: list[str] = []
    owed = {id_: delivery for one in expected for id_, delivery in one.deliveries.items()}
    came = defaultdict(list)
    for request in sent:
        came[request.id].append(request)
    wrong += [f"sent, though never owed: {request}" for request in sent if request.id not in owed]
    added = {id_ for one in expected for id_ in one.added}
    wrong += [f"never sent: {_tell(one)}" for id_, one in owed.items() if id_ not in came and id_ not in added]
    for id_, requests in came.items():
        if id_ in owed:
            wrong += _judge_one(owed[id_], requests)
    for one in expected:
        wrong += _judge_added([id_ in came for id_ in one.added])
    return wrong


def _judge_one(owed: Delivery, requests: Sequence[Sent]) -> list[str]:
    differs = [
        request
        for request in requests
        if (request.method, request.body) != (owed.method, owed.body) or not request.path.endswith(owed.target)
    ]
    wrong = [f"{request} differs from what is owed: {_tell(owed)}" for request in differs]
    wanted = 410 if owed.target == "/gone" else 200
    if all(request.status != wanted for request in requests):
        wrong.append(f"given up before it was answered {wanted}: {_tell(owed)}, {[one.status for one in requests]}")
    return wrong


def _judge_added(came: Sequence[bool]) -> list[str]:
    """From one record on the new rulebook judges, and never the old one again."""
    return [] if list(came) == sorted(came) else [f"old and new rulebook took turns: {came}"]


def judge_found(partition: int, expected: Expected, found: Found, *, rules_change: bool) -> list[str]:
    """What is wrong with the store in the end."""
    wrong = []
    if found.fence != expected.end - 1:
        wrong.append(f"the fence is at {found.fence}, the last record at {expected.end - 1}")
    if found.owed or found.owed_by_integration or found.timers:
        wrong.append(f"left: {found.owed} owed, {found.owed_by_integration}, {found.timers} timers")
    refused = {id_ for id_, one in expected.deliveries.items() if one.target == "/gone"}
    dead = dict.fromkeys(expected.dead_records, "record") | dict.fromkeys(refused, "delivery")
    if found.dead != dead:
        wrong.append(f"dead letters differ: {sorted(found.dead.items() ^ dead.items())}")
    for id_, visitor in expected.visitors.items():
        there = found.visitors[id_]
        same = there == visitor if not rules_change else there and there.event_count == visitor.event_count
        if not same:
            wrong.append(f"visitor {id_} is {there}, not {visitor}")
    return [f"partition {partition}: {one}" for one in wrong]


def inversions(expected: Sequence[Expected], sent: Sequence[Sent]) -> int:
    """Pairs of neighbours of one visitor that came first in the wrong order: told, for nothing is promised of it."""
    first = {id_: place for place, id_ in reversed(list(enumerate(request.id for request in sent)))}
    places: dict[str, list[int]] = defaultdict(list)
    for one in expected:
        for id_, delivery in one.deliveries.items():
            if id_ in first:
                places[delivery.visitor_id].append(first[id_])
    return sum(before > after for line in places.values() for before, after in pairwise(line))


def _tell(owed: Delivery) -> str:
    return f"{owed.id} of {owed.action_map} for {owed.event_id}: {owed.method} {owed.target} {owed.body}"
