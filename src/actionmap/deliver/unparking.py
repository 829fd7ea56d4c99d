"""Unparking: parked deliveries → owed again, as soon as their integration has room in the outbox of the partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from actionmap.deliver.consequences import dead_letter_of, tell_dead
from actionmap.deliver.owned import Owned
from actionmap.deliver.parking import AT_ONCE, Entry, Gap, Parking
from actionmap.deliver.retry import is_too_old
from actionmap.delivery import DeadLetter, Delivery, decode_delivery, encode, is_erased, outcome_of
from actionmap.errors import Unreachable
from actionmap.store.protocols import Parked
from actionmap.telemetry import logger

#: Seconds between two looks: while nothing is parked, and while something is that has no room.
IDLE_S, LOOK_S = 5.0, 0.5
#: Seconds between two passes over what has no room.
PASS_EVERY_S = 30.0


@dataclass(slots=True)
class _Sorted:
    """What becomes of the entries that were read."""

    #: Offset to read on from.
    to: int
    owe: list[Delivery] = field(default_factory=list)
    bury: list[DeadLetter] = field(default_factory=list)
    #: Those of visitors that were erased since.
    drop: list[Delivery] = field(default_factory=list)
    #: Those without room, and where each is now.
    again: list[tuple[int, Delivery]] = field(default_factory=list)


class Unparker:
    """Takes back what is parked of one partition.

    The log is read in order. What is parked for integrations without room is put at its tail again when there is room
    for somebody else's behind it, in one pass over all that is parked, at most every 30 s: so a receiver that stays
    away holds up nobody but itself.
    """

    def __init__(self, parking: Parking, owned: Owned) -> None:
        self._parking = parking
        self._owned = owned
        self._log = logger("parking").bind(partition=owned.number)
        self._room: dict[str, int] = {}
        #: Integrations that have no room as of this step, and as of the pass that ends at offset `_pass_to`.
        self._full: set[str] = set()
        self._passed: set[str] = set()
        self._pass_to = -1
        self._next_pass_at = 0.0

    async def step(self) -> float:
        """Take back what there is room for; returns the seconds until the next look.

        Raises:
            Unreachable: log or store do not answer.
        """
        found = await self._parking.store.parked(self._owned.number)
        if found.position >= found.end:
            return IDLE_S
        self._room = {name: self._parking.room(name, found.owed.get(name, 0)) for name in found.parked}
        self._full = {name for name, room in self._room.items() if not room}
        if self._room and len(self._full) == len(self._room):
            return LOOK_S
        entries = await self._parking.log.read(self._owned.number, found.position, AT_ONCE)
        if isinstance(entries, Gap):
            return await self._leap(found, entries)
        read = [(entry.offset, self._decode(entry)) for entry in entries]
        result = self._sort(read, found, await self._erased(read) if found.erasures else {})
        await self._append_again(result)
        return LOOK_S if result.to == found.position else await self._move(found, result)

    async def _move(self, found: Parked, result: _Sorted) -> float:
        end = max((offset + 1 for offset, _ in result.again), default=-1)
        told = {one.id: outcome_of(one.delivery, "webhook_failed", one.at) for one in result.bury if one.delivery}
        moved = await self._parking.store.unpark(
            self._owned.number, position=found.position, to=result.to, end=end, owe=result.owe, bury=result.bury,
            drop=result.drop, outcomes=told, erasures=found.erasures,
        )  # fmt: skip
        if moved:
            for letter in result.bury:
                tell_dead(letter, self._parking.metrics)
            self._log.info("deliveries.unparked", owed=len(result.owe), dead=len(result.bury), again=len(result.again),
                           erased=len(result.drop))  # fmt: skip
            self._owned.woken.set()
        return 0.0

    # --- what becomes of each

    def _sort(self, read: list[tuple[int, Delivery | None]], found: Parked, erased: Mapping[str, int]) -> _Sorted:
        result, now = _Sorted(found.position), self._parking.clock()
        for offset, delivery in read:
            if delivery is None:
                pass
            elif is_erased(delivery, erased):
                result.drop.append(delivery)
            elif is_too_old(delivery, now):
                detail = f"it was parked until {delivery.retry.max_age_s} s had passed since it was owed"
                result.bury.append(dead_letter_of(delivery, "too-old", detail, now))
            elif self._take_room(delivery.integration, found):
                result.owe.append(delivery)
            elif self._may_pass(offset, delivery.integration, found):
                result.again.append((offset, delivery))
            else:
                break
            result.to = offset + 1
        return result

    async def _erased(self, read: list[tuple[int, Delivery | None]]) -> Mapping[str, int]:
        visitor_ids = sorted({delivery.visitor_id for _, delivery in read if delivery is not None})
        return await self._parking.store.erasures.numbers(self._owned.number, visitor_ids)

    def _decode(self, entry: Entry) -> Delivery | None:
        try:
            return decode_delivery(entry.value)
        except msgspec.MsgspecError as error:
            self._log.error("parked.unreadable", offset=entry.offset, error=str(error), means="passed over")
            return None

    def _take_room(self, name: str, found: Parked) -> bool:
        if name not in self._room:
            self._room[name] = self._parking.room(name, found.owed.get(name, 0))
        self._room[name] -= 1
        return self._room[name] >= 0

    def _may_pass(self, offset: int, name: str, found: Parked) -> bool:
        """Whether what lies at ``offset``, for ``name`` and without room, may be put at the tail, for what lies behind.

        One whose room is only used up is waited for: it is being taken back, at the pace of its receiver.
        """
        if offset < self._pass_to and name in self._passed:
            return True
        now = self._parking.monotonic()
        if now < self._next_pass_at or name not in self._full:
            return False
        self._passed, self._pass_to, self._next_pass_at = self._full, found.end, now + PASS_EVERY_S
        return True

    async def _append_again(self, result: _Sorted) -> None:
        """Put what has no room at the tail."""
        if not result.again:
            return
        records = [(one.id, encode(one)) for _, one in result.again]
        offsets = await self._parking.log.append(self._owned.number, records)
        if None in offsets:
            # Nothing of this batch moves: what was appended is a second copy, and recognised as one.
            raise Unreachable("the log of parked deliveries did not take all that it was given again")
        result.again = [
            (offset, one) for offset, (_, one) in zip(offsets, result.again, strict=True) if offset is not None
        ]

    async def _leap(self, found: Parked, gap: Gap) -> float:
        """The log does not hold what is to be read: say so, and go on where it begins."""
        is_new_log = found.position > gap.end
        lost = (found.end if is_new_log else min(found.end, gap.begin)) - found.position
        self._log.error(
            "parked.lost", position=found.position, begin=gap.begin, end=gap.end, at_most=lost,
            means="the topic of parked deliveries was deleted and recreated" if is_new_log else
            "retention removed parked deliveries: give their topic a longer one than the longest maxAge",
        )  # fmt: skip
        end = gap.end if is_new_log else -1
        if await self._parking.store.unpark(
            self._owned.number,
            position=found.position,
            to=gap.begin,
            end=end,
            is_new_log=is_new_log,
            erasures=found.erasures,
        ):
            self._parking.metrics.parked_lost.inc(lost)
        return 0.0
