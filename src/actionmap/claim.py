"""Claim: a partition taken over at its fence, and what its owner has to know of the fence from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actionmap.consume.parse import Record, fingerprint
from actionmap.consume.positions import Log, OnGap, Start, go_on, recreated, start_position
from actionmap.errors import PartitionHalted
from actionmap.store.protocols import Fence, PartitionStore, Resume
from actionmap.telemetry import logger


@dataclass(slots=True)
class Claim:
    """One worker's hold on one partition; kept up to date with each commit, dropped when it turns out to be lost."""

    topic: str
    partition: int
    #: What the fence holds as long as nobody else moved it.
    token: str
    #: The offset after the last record whose effects are in the store.
    next: int
    #: Fingerprint of that record; "" without one.
    fingerprint: str
    #: Whether the record at the fence was seen to be the one that was evaluated there.
    is_proven: bool
    #: Stream time as claimed, and the wall clock when it was reached; see `Fence`.
    stream_time: int
    stream_time_at: int
    #: How often visitors were erased; see `Fence`.
    erasures: int = 0

    @property
    def fetch_from(self) -> int:
        """The offset to fetch from: the record at the fence comes first until it is proven to be the same."""
        return self.next if self.is_proven else self.next - 1

    def prove(self, record: Record) -> None:
        """Compare ``record``, the first one fetched, with the one that was evaluated at the fence.

        Raises:
            PartitionHalted: it is another one, so the topic was recreated.
        """
        if record.offset == self.next - 1 and fingerprint(record) != self.fingerprint:
            raise recreated(self.topic, self.partition, record.offset)
        self.is_proven = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Takes partitions over.

    Args:
        store: Where the fences are.
        owner: Name of this worker in the fence.
        new_token: A fresh random token.
        on_gap: What to do when the log does not go on at the fence and nobody said how.
    """

    store: PartitionStore
    owner: str
    new_token: Callable[[], str]
    on_gap: OnGap

    async def claim(self, log: Log, policy: Resume | None) -> Claim | None:
        """Take over the partition of ``log``; None when another worker moved its fence meanwhile: look again.

        ``policy`` is what a person told the partition to do; what the fence says of that counts as well.

        Raises:
            PartitionHalted: going on would be a guess.
            Unreachable: the store does not answer.
        """
        fence = await self.store.fence(log.partition)
        start = await self._start(fence, log, policy or fence.resume)
        fence = await self.store.claim(
            log.partition,
            owner=self.owner,
            token=self.new_token(),
            cluster=log.cluster,
            partitions=log.partitions,
            moved_to=start.offset - 1 if start.moved else None,
        )
        if fence.offset >= 0 and fence.offset + 1 != start.offset:
            return None
        return Claim(
            topic=log.topic,
            partition=log.partition,
            token=fence.token,
            next=start.offset,
            fingerprint=fence.fingerprint,
            # Nothing to compare with, or the log has just been deleted up to the fence.
            is_proven=not fence.fingerprint or log.begin > fence.offset,
            stream_time=fence.stream_time,
            stream_time_at=fence.stream_time_at,
            erasures=fence.erasures,
        )

    async def _start(self, fence: Fence, log: Log, policy: Resume | None) -> Start:
        say = logger("pipeline").bind(partition=log.partition)
        if policy == "rebuild" or fence.rebuilding:
            say.warning("partition.rebuilds", begin=log.begin, end=log.end)
            await self.store.forget(log.partition)
            return Start(log.begin, moved=True)
        if policy == "continue" and fence.halted is not None:
            start = go_on(fence, log, fence.halted.reason)
            say.warning("partition.continues", reason=fence.halted.reason, start=start.offset)
            return start
        try:
            return start_position(fence, log)
        except PartitionHalted as reason:
            if self.on_gap == "halt":
                raise
            start = go_on(fence, log, reason.reason)
            say.info("partition.continues", reason=reason.reason, detail=str(reason), start=start.offset)
            return start
