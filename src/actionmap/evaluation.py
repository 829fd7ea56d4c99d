"""Evaluation: records and due timers of one partition → one batch. Loads visitors, changes nothing in the store."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from actionmap.batch import Batch
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, dead_letter, parse_record
from actionmap.decide import Policy, Timeline
from actionmap.delivery import SURVIVES_ALL, DeadLetter, Outcome, decode_outcome
from actionmap.errors import PartitionHalted, Rejected
from actionmap.event import VISITOR_ERASED, Event
from actionmap.store.cache import VisitorCache
from actionmap.store.protocols import Due, PartitionStore
from actionmap.telemetry import Metrics, logger
from actionmap.visitor import Visitor, decode_visitor

#: Outcomes of deliveries that one batch takes.
OUTCOMES_AT_ONCE = 500
#: Visitors with due timers that one batch takes up.
TIMERS_AT_ONCE = 500
_NONE_DUE = Due((), None)

Parsed = tuple[Record, Event | DeadLetter]


class Evaluation:
    """Evaluates for one partition."""

    def __init__(
        self, partition: int, store: PartitionStore, cache: VisitorCache, policy: Policy, metrics: Metrics
    ) -> None:
        self._partition = partition
        self._store = store
        self._cache = cache
        self._policy = policy
        self._metrics = metrics
        self._log = logger("pipeline").bind(partition=partition)
        #: When the next timer is due, as the store said last; None: never. Before it said so: at once.
        self.next_due: int | None = -1
        #: Whether outcomes of deliveries may wait for the partition's visitors.
        self.outcomes_wait = True
        #: How often visitors of the partition were erased.
        self.erasures = 0

    def parse(self, record: Record) -> Parsed:
        """``record``, and the event in it, or the dead letter that it is."""
        try:
            event, clamped, unknown = parse_record(record)
        except Rejected as why:
            return record, dead_letter(record, why.reason, why.detail)
        except Exception as error:
            return record, self._unjudged(record, error)
        if clamped:
            self._metrics.clamped_times.inc()
        if unknown:
            self._metrics.unknown_fields.inc(unknown)
        return record, event

    async def of_records(self, parsed: Sequence[Parsed], rulebook: Rulebook, stream_time: int, token: str) -> Batch:
        """As many of the ``parsed`` records as fit into one commit, with the timers they make due.

        A batch without any record holds due timers alone: there are more of them than one batch takes up.

        Raises:
            FenceMoved: the fence does not hold ``token`` any more.
            PartitionHalted: a stored visitor cannot be read.
            Unreachable: the store does not answer.
        """
        latest = max([event.time for _, event in parsed if isinstance(event, Event)], default=-1)
        due = await self._due(max(latest, stream_time), token)
        visitor_ids = {event.visitor_id for _, event in parsed if isinstance(event, Event)}
        batch = await self._begin(due, visitor_ids, stream_time, token)
        timeline = Timeline(rulebook, self._policy, stream_time, batch.visitors)
        for record, event in parsed:
            if batch.erased and not batch.takes(event):
                break
            if isinstance(event, DeadLetter):
                batch.add_dead(event)
            elif due.next_due is not None and due.next_due <= event.time:
                # Timers that were not loaded come before this event.
                break
            else:
                self._take(record, event, timeline, batch)
            if batch.is_full:
                break
        if not batch.records and due.visitors:
            batch.run_timers(timeline, due.visitors[-1][1], parsed[0][0].timestamp)
        batch.stream_time = timeline.stream_time
        return batch

    async def of_timers(self, rulebook: Rulebook, stream_time: int, token: str, *, now: int, owed_at: int) -> Batch:
        """What is due when stream time goes on from ``stream_time`` to ``now``, or as far as one batch takes it.

        Raises as `of_records` does.
        """
        due = await self._due(now, token)
        batch = await self._begin(due, set(), stream_time, token)
        timeline = Timeline(rulebook, self._policy, stream_time, batch.visitors)
        until = now if due.next_due is None or due.next_due > now or not due.visitors else due.visitors[-1][1]
        batch.run_timers(timeline, until, owed_at)
        batch.stream_time = max(stream_time, until)
        return batch

    async def of_outcomes(self, rulebook: Rulebook, stream_time: int, token: str) -> Batch:
        """What deliveries ended with, as their visitors take it; they happen now, at ``stream_time``.

        Raises as `of_records` does.
        """
        stored = await self._store.outcomes(self._partition, token, limit=OUTCOMES_AT_ONCE)
        self.outcomes_wait = len(stored) == OUTCOMES_AT_ONCE
        outcomes = list(map(decode_outcome, stored))
        batch = await self._begin(_NONE_DUE, {outcome.visitor_id for outcome in outcomes}, stream_time, token)
        timeline = Timeline(rulebook, self._policy, stream_time, batch.visitors)
        for one, outcome in zip(stored, outcomes, strict=True):
            batch.outcomes_taken, batch.last_outcome = batch.outcomes_taken + 1, one
            # One that is not known any more has been erased, or not seen for months; and who has come back since is not
            # told what became of its erasure.
            if outcome.visitor_id in batch.visitors and outcome.survives != SURVIVES_ALL:
                event = event_of_outcome(outcome, max(stream_time, 0))
                batch.add_outcome(event, timeline.take(event))
            if batch.is_full:
                self.outcomes_wait = True
                break
        return batch

    def _take(self, record: Record, event: Event, timeline: Timeline, batch: Batch) -> None:
        if timeline.timers:
            batch.run_timers(timeline, event.time - 1, event.recorded_at)
        try:
            decision = timeline.take(event)
        except Exception as error:
            batch.add_dead(self._unjudged(record, error))
            return
        batch.add(event, decision)
        if decision.verdicts:
            broken = [verdict for verdict in decision.verdicts if verdict.reason == "error"]
            if broken:
                detail = "; ".join(f"ActionMap {verdict.action_map}: {verdict.detail}" for verdict in broken)
                names = tuple(verdict.action_map for verdict in broken)
                letter = dead_letter(record, "action-map-error", detail, names)
                batch.bury(replace(letter, survives=SURVIVES_ALL if event.name == VISITOR_ERASED else 0))
        if timeline.timers:
            batch.run_timers(timeline, timeline.stream_time, event.recorded_at)

    async def _due(self, until: int, token: str) -> Due:
        if self.next_due is None or self.next_due > until:
            return _NONE_DUE
        return await self._store.due(self._partition, token, until=until, limit=TIMERS_AT_ONCE)

    async def _begin(self, due: Due, visitor_ids: set[str], stream_time: int, token: str) -> Batch:
        waiting = {visitor_id for visitor_id, _ in due.visitors}
        batch = Batch(stream_time, await self._load(visitor_ids | waiting, token), erasures=self.erasures)
        batch.note_timers(due.visitors)
        return batch

    async def _load(self, visitor_ids: set[str], token: str) -> dict[str, Visitor]:
        visitors = self._cache.get(self._partition, visitor_ids)
        unknown = sorted(visitor_ids - visitors.keys())
        loaded = await self._store.load(self._partition, unknown, token)
        for visitor_id, stored in zip(unknown, loaded, strict=True):
            if stored is not None:
                visitors[visitor_id] = self._decoded(visitor_id, stored)
        return visitors

    def _decoded(self, visitor_id: str, stored: bytes) -> Visitor:
        try:
            return decode_visitor(stored)
        except msgspec.DecodeError as error:
            self._log.error("visitor.unreadable", visitor=visitor_id)
            raise PartitionHalted(
                "unreadable-visitor",
                f"partition {self._partition}: what the store holds of a visitor cannot be read ({error}); was it "
                "written by a newer version? The log names the visitor. Run that version, or tell the partition: "
                f"actionmap partitions resume {self._partition} --policy rebuild",
            ) from error

    def _unjudged(self, record: Record, error: Exception) -> DeadLetter:
        """One record that this version cannot cope with must not stop all that come after it."""
        self._log.error("event.failed", position=record.position, exc_info=error)
        return dead_letter(record, "evaluation-error", f"{type(error).__name__}: {error}")


def event_of_outcome(outcome: Outcome, at: int) -> Event:
    """The reserved event by which ``outcome`` reaches its visitor at ``at`` (stream time)."""
    told = {
        "webhook": outcome.webhook, "actionMap": outcome.action_map, "status": outcome.status,
        "deliveryId": outcome.delivery_id,
    }  # fmt: skip
    return Event(
        id=f"{outcome.delivery_id}/{outcome.name}", name=outcome.name, visitor_id=outcome.visitor_id, time=at,
        recorded_at=outcome.at, attributes=outcome.variables | told, traits=outcome.traits,
        variables=outcome.variables, depth=outcome.depth,
    )  # fmt: skip
