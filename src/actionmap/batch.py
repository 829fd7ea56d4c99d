"""Batch: what consecutive records of one partition have led to, on its way into the store as one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from actionmap.catalog.mappings import counted_as
from actionmap.decide import Timeline
from actionmap.decision import Decision, Verdict
from actionmap.delivery import SURVIVES_ALL, DeadLetter, Delivery, Outcome, outcome_of
from actionmap.event import VISITOR_ERASED, Event
from actionmap.store.protocols import Commit
from actionmap.telemetry import Metrics
from actionmap.visitor import Visitor, encode_visitor

#: Bytes of deliveries and dead letters after which a batch takes no further record: one commit must stay small.
MAX_OWED_BYTES = 4 * 1024 * 1024
#: About what a delivery or a dead letter weighs beside its body or value.
_ENVELOPE_BYTES = 700


@dataclass(slots=True)
class Batch:
    """Grows by one record after the other; what it changes is applied in one step or not at all."""

    #: Greatest event time, in milliseconds since 1970; -1 at the start of a partition.
    stream_time: int
    #: The visitors of its records, as they are after the last one taken.
    visitors: dict[str, Visitor] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    decisions: list[tuple[Event, Decision]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    #: Stored form of the changed visitors, made by `as_commit`.
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    #: How many records it has taken.
    records: int = 0
    owed_bytes: int = 0
    #: What deliveries that are dead at birth tell their visitors.
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    #: How many outcomes of deliveries it has taken.
    outcomes_taken: int = 0
    #: The last of them, as it was read.
    last_outcome: bytes = b""
    #: Visitor → when its next timer was due before, as the store knows it.
    timers_before: dict[str, int | None] = field(default_factory=dict)
    #: How often visitors of the partition were erased, these included; see `Fence.erasures`.
    erasures: int = 0
    #: The visitors that it erases, in order. It takes nothing of them after that.
    erased: dict[str, None] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """True when it should be committed before it takes another record."""
        return self.owed_bytes > MAX_OWED_BYTES

    def note_timers(self, due: Iterable[tuple[str, int]]) -> None:
        """Remember which of the visitors loaded have a timer in the store; one that is stored no more loses it."""
        self.timers_before = {
            id_: visitor.next_due for id_, visitor in self.visitors.items() if visitor.next_due is not None
        }
        self.timers_before.update((id_, at) for id_, at in due if id_ not in self.visitors)

    def add(self, event: Event, decision: Decision) -> None:
        """Take over what ``event`` has led to."""
        self.records += 1
        self._note(event, decision)

    def run_timers(self, timeline: Timeline, until: int, owed_at: int) -> None:
        """Fire what is due at or before ``until`` and take over what that leads to."""
        for event, decision in timeline.run_timers(until, owed_at):
            self._note_without_record(event, decision, owed_at)

    def _note_without_record(self, event: Event, decision: Decision, at: int) -> None:
        self._note(event, decision)
        for verdict in decision.verdicts:
            if verdict.reason == "error":
                self.bury(_broken(event, verdict, at))

    def takes(self, event: Event | DeadLetter) -> bool:
        """Whether it can take ``event``: of a visitor that it erases it takes nothing more."""
        return (event.key if isinstance(event, DeadLetter) else event.visitor_id) not in self.erased

    def _note(self, event: Event, decision: Decision) -> None:
        self.decisions.append((event, decision))
        if decision.outcome == "duplicate":
            return
        if decision.outcome == "erased":
            # What it has brought up so far is swept with what the store has of it.
            self.changed.discard(event.visitor_id)
            self.erased[event.visitor_id] = None
            self.erasures += 1
        else:
            self.changed.add(decision.visitor.id)
        if decision.deliveries or decision.dead_letters:
            survives = SURVIVES_ALL if event.name == VISITOR_ERASED else self.erasures
            for delivery in decision.deliveries:
                self.deliveries.append(replace(delivery, survives=survives) if survives else delivery)
                self.owed_bytes += len(delivery.body or "") + _ENVELOPE_BYTES
            for letter in decision.dead_letters:
                self._bury_delivery(letter, survives)

    def _bury_delivery(self, letter: DeadLetter, survives: int) -> None:
        if letter.delivery is not None:
            delivery = replace(letter.delivery, survives=survives)
            letter = replace(letter, delivery=delivery)
            self.outcomes[letter.id] = outcome_of(delivery, "webhook_failed", letter.at)
        self.bury(letter)

    def add_outcome(self, event: Event, decision: Decision) -> None:
        """Take over what the outcome of a delivery, ``event``, has led to."""
        self._note_without_record(event, decision, event.recorded_at)

    def add_dead(self, letter: DeadLetter) -> None:
        """Take over a record that is no event, or that could not be judged."""
        self.records += 1
        self.bury(letter)

    def bury(self, letter: DeadLetter) -> None:
        """Owe people a dead letter."""
        self.dead_letters.append(letter)
        self.owed_bytes += len(letter.value or "") + _ENVELOPE_BYTES

    def _timers(self) -> list[tuple[str, int | None]]:
        before = self.timers_before
        after = {id_: due for id_ in self.changed if (due := self.visitors[id_].next_due) is not None or id_ in before}
        gone = {id_: None for id_ in before if id_ not in self.visitors}
        return [(id_, due) for id_, due in (after | gone).items() if due != before.get(id_)]

    def as_commit(
        self, *, expected_token: str, token: str, offset: int, revision: int, stream_time_at: int, fingerprint: str
    ) -> Commit:
        """The commit that brings this batch into the store.

        Args:
            expected_token: The token its computation started from.
            token: A fresh one.
            offset: Of its last record; of the last one before it when it holds none.
            revision: Of the rulebook that judged it.
            stream_time_at: Wall clock when its stream time was reached, in milliseconds since 1970.
            fingerprint: Of the record at ``offset``.
        """
        self.stored = [(id_, encode_visitor(self.visitors[id_])) for id_ in self.changed]
        return Commit(
            expected_token=expected_token,
            token=token,
            offset=offset,
            revision=revision,
            stream_time=self.stream_time,
            stream_time_at=stream_time_at,
            fingerprint=fingerprint,
            visitors=self.stored,
            timers=self._timers(),
            deliveries=self.deliveries,
            dead_letters=self.dead_letters,
            outcomes=self.outcomes,
            outcomes_taken=self.outcomes_taken,
            last_outcome=self.last_outcome,
            erased=list(self.erased),
            erasures=self.erasures,
        )

    def count(self, metrics: Metrics) -> None:
        """Count what is in the store now."""
        for letter in self.dead_letters:
            metrics.dead_letters.labels(letter.kind, letter.reason).inc()
        outcomes = Counter(decision.outcome for _, decision in self.decisions)
        metrics.timers.inc(outcomes.pop("timer", 0) + outcomes.pop("expiry", 0))
        verdicts = Counter((one.action_map, one.reason) for _, decision in self.decisions for one in decision.verdicts)
        for outcome, number in outcomes.items():
            metrics.events.labels(outcome).inc(number)
        for labels, number in verdicts.items():
            metrics.verdicts.labels(*labels).inc(number)
        for _, decision in self.decisions:
            for one in decision.looked_up:
                metrics.lookups.note(counted_as(one.action_map, one.lookups), decision.visitor.id)
                for name in one.missing:
                    metrics.lookups.note(counted_as(one.action_map, one.lookups, name), decision.visitor.id)
                    metrics.missing_lookups.labels(f"{one.action_map}/{name}").inc()


def _broken(event: Event, verdict: Verdict, at: int) -> DeadLetter:
    """A map broke at a timer or an outcome: there is no record to replay, but people shall know of it."""
    return DeadLetter(
        id=f"{event.id}#{verdict.action_map}",
        kind="record",
        reason="action-map-error",
        detail=f"ActionMap {verdict.action_map}, at a timer or an outcome: {verdict.detail}",
        at=at,
        key=event.visitor_id,
        action_maps=(verdict.action_map,),
    )
