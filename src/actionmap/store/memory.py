"""The store's in-memory twin: the same promises as `redis.py` but for survival. For tests and `simulate`."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from actionmap.delivery import DeadLetter, Delivery, Outcomes, decode_outcome, encode, is_erased
from actionmap.errors import FenceMoved
from actionmap.store.api_keys import MemoryApiKeys
from actionmap.store.definitions import MemoryDefinitions
from actionmap.store.durability import Guarantees
from actionmap.store.integrations import MemoryIntegrations
from actionmap.store.journal import MemoryJournal
from actionmap.store.line import Lines
from actionmap.store.lookups import MemoryLookups
from actionmap.store.protocols import (
    NO_OUTCOMES,
    NOT_YET,
    Applied,
    Commit,
    Due,
    Fence,
    Halt,
    Leased,
    Parked,
    Resume,
)


@dataclass(slots=True)
class _Partition:
    fence: Fence = field(default_factory=Fence)
    visitors: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    owed: dict[str, Delivery] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    dead: dict[str, DeadLetter] = field(default_factory=dict)
    outcomes: list[bytes] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    parked_from: int = -1
    parked_to: int = -1
    parked: Counter[str] = field(default_factory=Counter)
    #: Visitor → number of its last erasure.
    erased: dict[str, int] = field(default_factory=dict)
    to_sweep: dict[str, int] = field(default_factory=dict)

    def erase(self, visitor_ids: Sequence[str], erasures: int) -> None:
        for number, visitor_id in enumerate(visitor_ids, erasures - len(visitor_ids) + 1):
            self.visitors.pop(visitor_id, None)
            self.timers.pop(visitor_id, None)
            self.erased[visitor_id] = self.to_sweep[visitor_id] = number

    def knows(self, id_: str) -> bool:
        return id_ in self.settled or id_ in self.owed or id_ in self.dead

    def settle(self, id_: str, outcomes: Outcomes, now: int) -> int:
        """It is not owed any more; answers how many outcomes were queued."""
        was_owed = self.owed.pop(id_, None) is not None
        self.due.pop(id_, None)
        self.due.update(dict.fromkeys(self.lines.leave(id_), now))
        if not was_owed or id_ not in outcomes:
            return 0
        self.outcomes.append(encode(outcomes[id_]))
        return 1

    def uncount(self, integration: str) -> None:
        self.parked[integration] = max(0, self.parked[integration] - 1)

    @property
    def next_due(self) -> int | None:
        return min(self.timers.values(), default=None)


class MemoryErasures:
    """The twin of `erasure.RedisErasures`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def sweep(self, partition: int, token: str, *, stop: Callable[[], bool] = lambda: False) -> None:
        part = self._store._partitions[partition]
        if not part.to_sweep or stop():
            return
        self._store._check(partition, token)
        for one in [one for one in part.owed.values() if is_erased(one, part.to_sweep)]:
            part.settle(one.id, NO_OUTCOMES, 0)
        self._store.journal.forget(partition, lambda one: is_erased(one, part.to_sweep))
        part.dead = {id_: one for id_, one in part.dead.items() if not is_erased(one, part.to_sweep)}
        part.outcomes = [one for one in part.outcomes if not is_erased(decode_outcome(one), part.to_sweep)]
        part.to_sweep = {}

    async def numbers(self, partition: int, visitor_ids: Sequence[str]) -> Mapping[str, int]:
        erased = self._store._partitions[partition].erased
        return {visitor_id: erased[visitor_id] for visitor_id in visitor_ids if visitor_id in erased}


class MemoryStore:
    """All roles of `protocols.Store`, in one process."""

    def __init__(self, *, outbox_cap: int = 20_000, ordered_cap: int = 4_000, journal: int = 1_000) -> None:
        self._partitions: dict[int, _Partition] = defaultdict(_Partition)
        self._outbox_cap = outbox_cap
        self._ordered_cap = ordered_cap
        self.api_keys = MemoryApiKeys()
        self.definitions = MemoryDefinitions()
        self.integrations = MemoryIntegrations()
        self.lookups = MemoryLookups()
        self.journal = MemoryJournal(journal)
        self.erasures = MemoryErasures(self)

    async def fence(self, partition: int) -> Fence:
        return self._partitions[partition].fence

    async def fences(self, partitions: int) -> list[Fence]:
        return [self._partitions[partition].fence for partition in range(partitions)]

    async def claim(
        self,
        partition: int,
        *,
        owner: str,
        token: str,
        cluster: str,
        partitions: int,
        moved_to: int | None = None,
    ) -> Fence:
        part = self._partitions[partition]
        fence = part.fence
        if moved_to is not None:
            fence = replace(fence, offset=moved_to, fingerprint="")
        part.fence = replace(
            fence, owner=owner, token=token, cluster=cluster, partitions=partitions, halted=None, resume=None,
            rebuilding=False,
        )  # fmt: skip
        return part.fence

    async def halt(self, partition: int, halt: Halt) -> None:
        part = self._partitions[partition]
        part.fence = replace(part.fence, halted=halt)

    async def resume(self, partition: int, policy: Resume) -> bool:
        part = self._partitions[partition]
        if part.fence.halted is None:
            return False
        part.fence = replace(part.fence, resume=policy)
        return True

    async def forget(self, partition: int) -> None:
        part = self._partitions[partition]
        was = part.fence
        part.fence = Fence(token=secrets.token_hex(16), owner=was.owner, revision=was.revision, halted=was.halted,
                           resume=was.resume, rebuilding=True, erasures=was.erasures)  # fmt: skip
        part.visitors.clear()
        part.timers.clear()

    async def load(self, partition: int, visitor_ids: Sequence[str], token: str | None = None) -> list[bytes | None]:
        if token is not None:
            self._check(partition, token)
        visitors = self._partitions[partition].visitors
        return [visitors.get(visitor_id) for visitor_id in visitor_ids]

    def _check(self, partition: int, token: str) -> None:
        fence = self._partitions[partition].fence
        if fence.token != token:
            raise FenceMoved(fence.owner)

    async def due(self, partition: int, token: str, *, until: int, limit: int) -> Due:
        self._check(partition, token)
        timers = sorted((due, visitor_id) for visitor_id, due in self._partitions[partition].timers.items())
        ready = [(visitor_id, due) for due, visitor_id in timers if due <= until][:limit]
        return Due(ready, timers[len(ready)][0] if len(timers) > len(ready) else None)

    async def apply(self, partition: int, commit: Commit) -> Applied:
        part = self._partitions[partition]
        if part.fence.token == commit.token:
            return Applied("ok", "", part.next_due, len(part.outcomes))
        if part.fence.token != commit.expected_token:
            return Applied("mismatch", part.fence.owner)
        if part.outcomes[: commit.outcomes_taken][-1:] != [commit.last_outcome][: commit.outcomes_taken]:
            return Applied("mismatch", part.fence.owner)
        if commit.revision < part.fence.revision:
            return Applied("rules-old")
        if commit.deliveries and len(part.owed) >= self._outbox_cap:
            return Applied("full")
        del part.outcomes[: commit.outcomes_taken]
        part.visitors.update(commit.visitors)
        for visitor_id, due in commit.timers:
            part.timers.pop(visitor_id, None)
            if due is not None:
                part.timers[visitor_id] = due
        given_up = 0
        for delivery in commit.deliveries:
            if not part.knows(delivery.id):
                given_up += self._owe(part, delivery)
        part.outcomes += [encode(one) for id_, one in commit.outcomes.items() if id_ not in part.dead]
        part.dead.update((letter.id, letter) for letter in commit.dead_letters)
        part.erase(commit.erased, commit.erasures)
        part.fence = replace(
            part.fence,
            offset=commit.offset,
            token=commit.token,
            revision=commit.revision,
            stream_time=commit.stream_time,
            stream_time_at=commit.stream_time_at,
            fingerprint=commit.fingerprint,
            erasures=commit.erasures if commit.erased else part.fence.erasures,
        )
        return Applied("ok", "", part.next_due, len(part.outcomes), given_up)

    def _owe(self, part: _Partition, delivery: Delivery) -> bool:
        """Owe ``delivery``; True when it is given up instead, because too many wait for its integration."""
        owed = sum(other.integration == delivery.integration for other in part.owed.values())
        if delivery.is_ordered and owed >= self._ordered_cap:
            detail = f"{self._ordered_cap} deliveries to the integration wait already, and ordered ones are not parked"
            part.dead[delivery.id] = DeadLetter(
                id=delivery.id,
                kind="delivery",
                reason="line-full",
                detail=detail,
                at=delivery.owed_at,
                delivery=delivery,
            )
            return True
        part.owed[delivery.id] = delivery
        part.due[delivery.id] = NOT_YET if part.lines.join(delivery) else delivery.owed_at
        return False

    async def durable_offset(self, partition: int) -> int:
        return self._partitions[partition].fence.offset

    async def wait_durable(self, partition: int, delivery_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(delivery_ids) & self._partitions[partition].owed.keys()

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        part = self._partitions[partition]
        ready = sorted((due, id_) for id_, due in part.due.items() if due <= now)[:limit]
        for _, id_ in ready:
            part.due[id_] = now + lease_ms
        owed = await self.owed_by_integration(partition)
        return Leased([part.owed[id_] for _, id_ in ready], min(part.due.values(), default=None), owed)

    async def outcomes(self, partition: int, token: str, *, limit: int) -> list[bytes]:
        self._check(partition, token)
        return self._partitions[partition].outcomes[:limit]

    async def ack(
        self, partition: int, deliveries: Sequence[Delivery], *, now: int, outcomes: Outcomes = NO_OUTCOMES
    ) -> int:
        part = self._partitions[partition]
        part.settled.update(one.id for one in deliveries if one.id in part.owed or one.id not in outcomes)
        self.journal.note(partition, [delivery for delivery in deliveries if delivery.id in part.owed])
        return sum(part.settle(delivery.id, outcomes, now) for delivery in deliveries)

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]], *, now: int) -> None:
        part = self._partitions[partition]
        for delivery, due in retries:
            if delivery.id in part.owed:
                part.owed[delivery.id] = delivery
                part.due[delivery.id] = due
                if not delivery.is_sync:
                    part.due.update(dict.fromkeys(part.lines.answered(delivery.id), now))

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter], outcomes: Outcomes = NO_OUTCOMES) -> int:
        part = self._partitions[partition]
        part.dead.update(
            (one.id, one) for one in dead_letters
            if one.id in part.owed or (one.id not in outcomes and not is_erased(one, part.erased))
        )  # fmt: skip
        return sum(part.settle(letter.id, outcomes, letter.at) for letter in dead_letters)

    async def revive(self, partition: int, deliveries: Sequence[Delivery], *, now: int) -> int:
        part = self._partitions[partition]
        dead = [
            one for one in deliveries if not is_erased(one, part.erased) and part.dead.pop(one.id, None) is not None
        ]
        for delivery in dead:
            part.owed[delivery.id] = delivery
            part.due[delivery.id] = max(now, delivery.owed_at)
        return len(dead)

    async def forget_dead(self, partition: int, ids: Sequence[str]) -> int:
        dead = self._partitions[partition].dead
        return sum(dead.pop(id_, None) is not None for id_ in ids)

    async def delivery(self, partition: int, id_: str) -> Delivery | None:
        return self._partitions[partition].owed.get(id_)

    async def dead_letter(self, partition: int, id_: str) -> DeadLetter | None:
        return self._partitions[partition].dead.get(id_)

    async def owed_by_integration(self, partition: int) -> dict[str, int]:
        return dict(Counter(delivery.integration for delivery in self._partitions[partition].owed.values()))

    async def outbox_size(self, partition: int) -> int:
        return len(self._partitions[partition].owed)

    async def owed(self, partition: int, *, limit: int, due_from: int = 0) -> list[Delivery]:
        part = self._partitions[partition]
        ids = [id_ for id_ in sorted(part.due, key=part.due.__getitem__) if part.due[id_] >= due_from]
        return [part.owed[id_] for id_ in ids[:limit]]

    async def due_times(self, partition: int, ids: Sequence[str]) -> list[int | None]:
        return [self._partitions[partition].due.get(id_) for id_ in ids]

    async def dead_deliveries(self, partition: int, *, start: int, limit: int) -> list[DeadLetter]:
        dead = [letter for letter in self._partitions[partition].dead.values() if letter.kind == "delivery"]
        return sorted(dead, key=lambda letter: (letter.at, letter.id))[start : start + limit]

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        dead = self._partitions[partition].dead.values()
        return sorted(dead, key=lambda letter: letter.at, reverse=True)[:limit]

    async def park(self, partition: int, deliveries: Sequence[tuple[Delivery, int]]) -> int:
        part = self._partitions[partition]
        start, end = part.parked_from, part.parked_to
        if start >= end:
            start = end = min((offset for _, offset in deliveries), default=-1)
        gone = [(one, offset) for one, offset in deliveries if offset >= start and one.id in part.owed]
        for one, offset in gone:
            del part.owed[one.id], part.due[one.id]
            part.parked[one.integration] += 1
            end = max(end, offset + 1)
        if gone:
            part.parked_from, part.parked_to = start, end
        return len(gone)

    async def parked(self, partition: int) -> Parked:
        part = self._partitions[partition]
        owed = await self.owed_by_integration(partition)
        return Parked(part.parked_from, part.parked_to, dict(+part.parked), owed, part.fence.erasures)

    async def unpark(
        self,
        partition: int,
        *,
        position: int,
        to: int,
        end: int = -1,
        is_new_log: bool = False,
        owe: Sequence[Delivery] = (),
        bury: Sequence[DeadLetter] = (),
        drop: Sequence[Delivery] = (),
        outcomes: Outcomes = NO_OUTCOMES,
        erasures: int = 0,
    ) -> bool:
        part = self._partitions[partition]
        if (part.parked_from, part.fence.erasures) != (position, erasures):
            return False
        for one in owe:
            if not part.knows(one.id):
                part.owed[one.id], part.due[one.id] = one, one.owed_at
                part.uncount(one.integration)
        for letter in bury:
            if not part.knows(letter.id):
                part.dead[letter.id] = letter
                part.outcomes += [encode(outcomes[letter.id])] if letter.id in outcomes else []
                part.uncount(letter.delivery.integration if letter.delivery else "")
        for one in drop:
            if not part.knows(one.id):
                part.uncount(one.integration)
        part.parked_from, part.parked_to = to, end if is_new_log else max(end, part.parked_to)
        if part.parked_from >= part.parked_to:
            part.parked.clear()
        return True

    async def ping(self) -> None:
        """Memory always answers."""

    async def guarantees(self) -> Guarantees:
        return Guarantees("none", ("the store is in memory; nothing of it survives the process",))

    async def close(self) -> None:
        """Nothing is open."""
