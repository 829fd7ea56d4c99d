"""Who is stuck: a lane that lags and stands still for too long, and nobody else."""

from actionmap.watchdog import Sight, Watch

PATIENCE_S = 60.0
STEP_S = 15.0


def lane(position: int | None, *, is_excused: bool = False, lane: int = 1) -> Sight:
    return Sight(lane, position, is_excused)


def stuck(*seen: tuple[Sight, int | None], step_s: float = STEP_S) -> bool:
    """Whether partition 0 is called stuck at any of these looks; the end of its log beside it, None: Kafka is away."""
    watch, found = Watch(PATIENCE_S), False
    for number, (sight, end) in enumerate(seen):
        still = watch.look(number * step_s, {0: sight})
        ends = {0: end} if end is not None and 0 in still else {}
        found = found or bool(watch.note_ends(number * step_s, ends))
    return found


def test_a_lane_that_lags_and_stands_still_for_longer_than_the_patience_is_stuck():
    assert stuck(*[(lane(7), 9)] * 6)


def test_a_lane_that_cannot_claim_its_partition_is_stuck_too():
    assert stuck(*[(lane(None), 1)] * 6)


def test_it_is_not_stuck_before_the_patience_has_passed():
    assert not stuck(*[(lane(7), 9)] * 5)


def test_a_lane_that_advances_is_not_stuck_however_far_it_lags():
    assert not stuck(*[(lane(number), 1_000) for number in range(20)])


def test_a_lane_at_the_end_of_its_log_is_not_stuck():
    assert not stuck(*[(lane(9), 9)] * 20)


def test_the_time_counts_from_when_it_was_seen_to_lag_not_from_when_it_last_advanced():
    quiet, then = [(lane(9), 9)] * 10, [(lane(9), 12)]
    assert not stuck(*quiet, *then * 4)
    assert stuck(*quiet, *then * 6)


def test_a_lane_that_is_halted_or_waits_for_something_outside_is_not_stuck():
    assert not stuck(*[(lane(7, is_excused=True), 9)] * 20)


def test_an_excuse_on_the_way_begins_the_time_anew():
    before, excused, after = [(lane(7), 9)] * 4, [(lane(7, is_excused=True), 9)], [(lane(7), 9)] * 5
    assert not stuck(*before, *excused, *after)


def test_nothing_is_held_against_a_lane_while_kafka_is_away():
    assert not stuck(*[(lane(7), 9)] * 4, (lane(7), None), *[(lane(7), 9)] * 4)


def test_a_lane_that_a_rebalance_opened_anew_begins_anew():
    assert not stuck(*[(lane(7, lane=1), 9)] * 4, *[(lane(7, lane=2), 9)] * 4)


def test_a_process_that_was_itself_stopped_does_not_judge_by_the_time_it_slept():
    assert not stuck(*[(lane(7), 9)] * 10, step_s=PATIENCE_S + 1)


def test_a_lane_that_turned_out_to_have_no_record_begins_anew():
    watch = Watch(PATIENCE_S)
    for number in range(6):
        watch.look(number * STEP_S, {0: lane(7)})
        suspects = watch.note_ends(number * STEP_S, {0: 9})
    assert suspects == {0}
    watch.acquit(0)
    watch.look(6 * STEP_S, {0: lane(7)})
    assert watch.note_ends(6 * STEP_S, {0: 9}) == set()


def test_only_the_partition_that_stands_still_is_named():
    watch = Watch(PATIENCE_S)
    for number in range(7):
        watch.look(number * STEP_S, {0: lane(7), 1: lane(number)})
        suspects = watch.note_ends(number * STEP_S, {0: 9, 1: 9})
    assert suspects == {0}
