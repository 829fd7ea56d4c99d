"""Where a claimed partition goes on, or why it must stop. Pure: the fence is the truth, Kafka's commit a hint."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from actionmap.errors import PartitionHalted
from actionmap.store.protocols import Fence

#: What to do when the log does not continue where the fence stands: stop and say so, or go on with a fresh fence.
OnGap = Literal["halt", "continue"]


class Log(Struct, frozen=True):
    """One partition as the broker shows it."""

    topic: str
    partition: int
    #: First offset still there, and the offset after the last one.
    begin: int
    end: int
    #: The consumer group's committed offset; None without one.
    committed: int | None
    cluster: str
    partitions: int


def start_position(fence: Fence, log: Log) -> int:
    """The offset to go on from.

    Raises:
        PartitionHalted: the log does not continue where the fence stands, so effects would be lost or repeated.
    """
    name = f"{log.topic}/{log.partition}"
    after = fence.offset + 1
    if fence.offset < 0:
        # A fence without an offset but with a token was claimed before: nothing was evaluated yet, nothing is lost.
        if log.committed and not fence.token:
            raise PartitionHalted(
                f"{name}: state lost: the group has committed offset {log.committed}, but the store holds no fence; "
                "restore the store from a backup, or delete the group's offsets to begin again from the log"
            )
        return log.begin
    if fence.partitions != log.partitions:
        raise PartitionHalted(
            f"{name}: partition count changed from {fence.partitions} to {log.partitions}: visitors would be split "
            "between partitions; go back to a topic with the former count"
        )
    if fence.cluster != log.cluster:
        raise PartitionHalted(
            f"{name}: recreated: the fence belongs to cluster {fence.cluster}, the broker is cluster {log.cluster}"
        )
    if log.end < after:
        raise PartitionHalted(
            f"{name}: truncated: offset {fence.offset} was evaluated, but the log ends at {log.end}; "
            "was the topic recreated?"
        )
    if log.begin > after:
        raise PartitionHalted(
            f"{name}: retention passed: the next offset is {after}, but the log begins at {log.begin}; "
            f"{log.begin - after} records were deleted before they were evaluated"
        )
    return after
