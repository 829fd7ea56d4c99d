"""Record → Event, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actionmap.delivery import DeadLetter
from actionmap.errors import Rejected
from actionmap.event import OUTCOME_EVENTS, OWN_EVENTS, Event, to_millis
from actionmap.wire import WireEvent, parse_and_count

#: An event time this far ahead of its record's time, in milliseconds, is taken for a wrong clock.
MAX_AHEAD_MS = 5 * 60 * 1000
_KEPT_CHARACTERS = 4096


#: What an outcome says of its delivery; its other attributes are the variables that it sets.
OUTCOME_ATTRIBUTES = frozenset({"webhook", "actionMap", "status", "deliveryId"})
#: The header of a record that was a dead letter and is replayed.
REPLAY_HEADER = "actionmap-replay"
#: The header of a record that actionmap itself wrote: its event may have a reserved name.
OWN_HEADER = "actionmap-own"


class Replay(Struct, frozen=True, rename="camel"):
    """What is known of a replayed record, as its header says."""

    #: Position of the record it repeats, which is the id of an event without one.
    position: str
    #: The maps that broke on it; empty when it was never evaluated.
    action_maps: tuple[str, ...] = ()


class Record(NamedTuple):
    """The raw Kafka item."""

    topic: str
    partition: int
    offset: int
    #: Milliseconds since 1970.
    timestamp: int
    key: bytes | None
    value: bytes | None
    #: Value of its `REPLAY_HEADER`; None without one.
    replay: bytes | None = None
    #: Whether it has an `OWN_HEADER`.
    own: bool = False

    @property
    def position(self) -> str:
        """``topic/partition/offset``: its id, and that of an event without one."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Parsed(NamedTuple):
    """An event, and what had to be noted about it."""

    event: Event
    #: Whether its time was clamped to the record's.
    clamped: bool
    #: Top-level keys that mean nothing here.
    unknown_fields: int


def fingerprint(record: Record) -> str:
    """Sixteen hexadecimal digits that tell ``record`` from another one at the same offset of a recreated topic."""
    digest = blake2b(record.key or b"", digest_size=8, salt=str(record.timestamp).encode()[-16:])
    digest.update(b"\0")
    digest.update(record.value or b"")
    return digest.hexdigest()


def parse_record(record: Record) -> Parsed:
    """The event that ``record`` holds.

    Raises:
        Rejected: it holds none.
    """
    if record.value is None:
        raise Rejected("empty", "the record has no value")
    # What is replayed was written by actionmap, and looked at when it came first.
    is_own = record.own or record.replay is not None
    wire, unknown = parse_and_count(record.value, reserved=OWN_EVENTS if is_own else ())
    return event_of(record, wire, unknown)


def event_of(record: Record, wire: WireEvent, unknown: int) -> Parsed:
    """The event that ``record`` holds, whose value was read as ``wire``, with so many ``unknown`` keys.

    Raises:
        Rejected: its replay header is none.
    """
    replay = _replay(record)
    time = record.timestamp if wire.timestamp is None else to_millis(wire.timestamp)
    clamped = time > record.timestamp + MAX_AHEAD_MS
    return Parsed(
        Event(
            id=wire.event_id or replay.position,
            only_maps=replay.action_maps,
            name=wire.event_name,
            visitor_id=wire.visitor_id,
            time=record.timestamp if clamped else time,
            recorded_at=record.timestamp,
            customer_id=wire.customer_id,
            page=wire.page,
            referrer_url=wire.referrer_url,
            user_agent=wire.user_agent,
            ip_address=wire.ip_address,
            search_query=wire.search_query,
            language=wire.language,
            attributes=wire.attributes or {},
            traits=wire.traits or {},
            size=len(record.value or b""),
            offset=record.offset,
        ),
        clamped,
        unknown,
    )


def outcome_asked(event: Event) -> Event:
    """``event``, which somebody asks about: what it says of a delivery's outcome is learned, as from a real one.

    Raises:
        Rejected: it is an outcome, and has what none has.
    """
    if event.name not in OUTCOME_EVENTS:
        return event
    variables = {name: value for name, value in event.attributes.items() if name not in OUTCOME_ATTRIBUTES}
    outcome = replace(event, page=None, customer_id=None, referrer_url=None, user_agent=None, ip_address=None,
                      search_query=None, language=None)  # fmt: skip
    if outcome != event:
        raise Rejected("invalid-field", f"{event.name} has attributes and traits; it happens on no page")
    return replace(outcome, variables=variables, depth=1)


def with_headers(record: Record, headers: Sequence[tuple[str, bytes]]) -> Record:
    """``record`` with what its ``headers`` say."""
    said = dict(headers)
    return record._replace(replay=said.get(REPLAY_HEADER), own=OWN_HEADER in said)


def _replay(record: Record) -> Replay:
    if record.replay is None:
        return Replay(record.position)
    try:
        return msgspec.json.decode(record.replay, type=Replay)
    except msgspec.DecodeError as error:
        raise Rejected(
            "malformed-replay", f"the header {REPLAY_HEADER} is not what actionmap writes: {error}"
        ) from None


def _first_position(record: Record) -> str | None:
    try:
        return _replay(record).position if record.replay is not None else None
    except Rejected:
        return None


def dead_letter(record: Record, reason: str, detail: str, action_maps: tuple[str, ...] = ()) -> DeadLetter:
    """The dead letter that keeps ``record`` for people; ``action_maps`` are those that broke on it."""
    return DeadLetter(
        id=record.position,
        kind="record",
        reason=reason,
        detail=detail,
        at=record.timestamp,
        action_maps=action_maps,
        replay_of=_first_position(record),
        key=_text(record.key),
        value=_text(record.value),
    )


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw[: _KEPT_CHARACTERS * 4].decode(errors="replace")[:_KEPT_CHARACTERS]
