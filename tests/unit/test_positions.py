"""Where a claimed partition goes on, and when it must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actionmap.consume.positions import Log, Start, go_on, start_position
from actionmap.errors import PartitionHalted
from actionmap.store.protocols import Fence

LOG = Log(topic="events", partition=3, begin=100, end=200, committed=150, cluster="c", partitions=12)
NO_FENCE = Fence()


def fence(offset: int) -> Fence:
    return Fence(offset=offset, cluster="c", partitions=12)


def halted(fence: Fence, log: Log) -> str:
    with pytest.raises(PartitionHalted) as error:
        start_position(fence, log)
    assert str(error.value).startswith("events/3: ")
    return str(error.value)


@pytest.mark.parametrize("committed", [None, 0, 120, 150, 200, 9999])
def test_the_fence_is_the_truth_and_the_commit_a_hint(committed):
    assert start_position(fence(149), replace(LOG, committed=committed)).offset == 150


def test_a_partition_never_seen_begins_where_its_log_does():
    assert start_position(NO_FENCE, replace(LOG, committed=None)) == Start(100)
    assert start_position(NO_FENCE, replace(LOG, committed=None, begin=0, end=0)) == Start(0)
    assert start_position(NO_FENCE, replace(LOG, committed=0, begin=0)) == Start(0)


def test_a_commit_without_a_fence_means_that_state_was_lost():
    assert "state lost" in halted(NO_FENCE, LOG)


def test_the_ends_of_the_log_are_inside_it():
    assert start_position(fence(199), LOG) == Start(200)
    assert start_position(fence(99), LOG) == Start(100)


def test_a_log_that_ends_before_the_fence_was_truncated():
    assert "truncated" in halted(fence(200), LOG)


def test_a_log_that_begins_after_the_fence_has_lost_records():
    message = halted(fence(97), LOG)
    assert "retention passed" in message
    assert "2 records were deleted" in message


def test_another_cluster_means_another_log():
    assert "recreated" in halted(fence(149), replace(LOG, cluster="d"))


@pytest.mark.parametrize("partitions", [11, 13])
def test_another_number_of_partitions_would_split_visitors(partitions):
    assert f"from 12 to {partitions}" in halted(fence(149), replace(LOG, partitions=partitions))


@pytest.mark.parametrize(
    ("fence_at", "log", "expected"),
    [
        (NO_FENCE, LOG, Start(150, moved=True)),
        (NO_FENCE, replace(LOG, committed=9), Start(100, moved=True)),
        (fence(300), LOG, Start(200, moved=True)),
        (fence(40), LOG, Start(100, moved=True)),
        (fence(149), replace(LOG, cluster="d"), Start(100, moved=True)),
        (fence(149), replace(LOG, partitions=13), Start(150, moved=True)),
    ],
)
def test_told_to_continue_it_leaves_out_only_what_cannot_be_had(fence_at, log, expected):
    with pytest.raises(PartitionHalted) as halt:
        start_position(fence_at, log)
    assert go_on(fence_at, log, halt.value.reason) == expected
    assert "partitions resume 3 --policy continue" in str(halt.value)


def test_after_a_fault_it_continues_at_the_fence_and_a_gap_that_is_still_there_halts_again():
    assert go_on(fence(149), LOG, "fault") == Start(150)
    with pytest.raises(PartitionHalted):
        go_on(fence(300), LOG, "fault")


@given(st.integers(-1, 50), st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 50))
def test_it_never_skips_and_never_repeats(offset, begin, length, committed):
    log = replace(LOG, begin=begin, end=begin + length, committed=committed)
    some = fence(offset) if offset >= 0 else NO_FENCE
    try:
        start = start_position(some, log).offset
    except PartitionHalted:
        return
    assert begin <= start <= log.end
    assert start == (offset + 1 if offset >= 0 else begin)
