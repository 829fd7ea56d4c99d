"""Where a claimed partition goes on, or why it must stop. Pure: the fence is the truth, Kafka's commit a hint."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from actionmap.errors import PartitionHalted
from actionmap.store.protocols import Fence

#: What to do when the log does not continue where the fence stands: stop and say so, or go on with a fresh fence.
OnGap = Literal["halt", "continue"]

#: Why a partition stops, by a fixed word.
HaltReason = Literal[
    "state-lost",
    "partition-count-changed",
    "recreated",
    "truncated",
    "retention-passed",
    "unreadable-visitor",
    "fault",
]


class Log(Struct, frozen=True):
    """One partition as the broker shows it."""

    topic: str
    partition: int
    #: First offset still there, and the offset after the last one.
    begin: int
    end: int
    #: The consumer group's committed offset, or a later one that this worker has evaluated up to; None without one.
    committed: int | None
    cluster: str
    partitions: int


class Start(NamedTuple):
    """Where a partition goes on."""

    offset: int
    #: Whether the fence has to be moved there: it stands elsewhere.
    moved: bool = False


def start_position(fence: Fence, log: Log) -> Start:
    """Where to go on from: at the record after the fence.

    Raises:
        PartitionHalted: the log does not continue where the fence stands, so effects would be lost or repeated.
    """
    name, after = f"{log.topic}/{log.partition}", fence.offset + 1
    if fence.offset < 0:
        # A fence without an offset but with a token was claimed before: nothing was evaluated yet, nothing is lost.
        if log.committed and not fence.token:
            raise _halted("state-lost", name, f"what comes before offset {log.committed} was evaluated, but the store "
                          "holds no fence. Restore the store from a backup and restart the worker", log)  # fmt: skip
        return Start(log.begin)
    if fence.partitions != log.partitions:
        raise _halted("partition-count-changed", name, f"partition count changed from {fence.partitions} to "
                      f"{log.partitions}, so visitors would be split between partitions. Go back to a topic with the "
                      "former count and restart the worker", log)  # fmt: skip
    if fence.cluster != log.cluster:
        raise _halted("recreated", name, f"the fence belongs to cluster {fence.cluster}, the broker is cluster "
                      f"{log.cluster}. Connect to the former cluster and restart the worker", log)  # fmt: skip
    if log.end < after:
        raise _halted("truncated", name, f"offset {fence.offset} was evaluated, but the log ends at {log.end}: it "
                      "lost records, or the topic was recreated", log)  # fmt: skip
    if log.begin > after:
        raise _halted("retention-passed", name, f"the next offset is {after}, but the log begins at {log.begin}; "
                      f"{log.begin - after} records were deleted before they were evaluated", log)  # fmt: skip
    return Start(after)


def recreated(log_name: str, partition: int, offset: int) -> PartitionHalted:
    """The record that the fence stands at is not the one that was evaluated."""
    detail = f"recreated: the record at offset {offset} is not the one that was evaluated: the topic was recreated"
    return _with_command("recreated", f"{log_name}/{partition}", detail, partition)


def _halted(reason: HaltReason, name: str, detail: str, log: Log) -> PartitionHalted:
    return _with_command(reason, name, f"{reason.replace('-', ' ')}: {detail}", log.partition)


def _with_command(reason: HaltReason, name: str, detail: str, partition: int) -> PartitionHalted:
    return PartitionHalted(
        reason,
        f"{name}: {detail}. Or go on: actionmap partitions resume {partition} --policy {_CONTINUES[reason]}, or "
        "--policy rebuild, which forgets the partition's visitors and evaluates the log again from its beginning",
    )


#: What ``continue`` does after each reason.
_CONTINUES: dict[HaltReason, str] = {
    "state-lost": "continue, which goes on there without the former visitors (apply the definitions again before)",
    "partition-count-changed": "continue, which goes on at the fence; visitors that moved begin anew",
    "recreated": "continue, which keeps the visitors and evaluates the new log from its beginning",
    "truncated": "continue, which keeps the visitors and goes on at the end of the log",
    "retention-passed": "continue, which keeps the visitors and goes on where the log begins",
}


def go_on(fence: Fence, log: Log, reason: str) -> Start:
    """Where ``continue`` goes on after a halt for ``reason`` (a `HaltReason`)."""
    match reason:
        case "recreated":
            return Start(log.begin, moved=True)
        case "truncated":
            return Start(log.end, moved=True)
        case "retention-passed":
            return Start(log.begin, moved=True)
        case "state-lost":
            return Start(min(max(log.committed or 0, log.begin), log.end), moved=True)
        case "partition-count-changed":
            return Start(min(max(fence.offset + 1, log.begin), log.end), moved=True)
        case _:
            return start_position(fence, log)
