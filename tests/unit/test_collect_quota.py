"""How many events a key may send."""

import pytest

from actionmap.collect.quota import Quota


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_second_worth_of_events_is_granted_at_once_and_then_no_more(clock: Clock):
    quota = Quota(10, clock)
    assert [quota.take("a", 1) for _ in range(10)] == [0.0] * 10
    assert quota.take("a", 1) == pytest.approx(0.1)


def test_tokens_come_back_with_time_and_never_pile_up(clock: Clock):
    quota = Quota(10, clock)
    quota.take("a", 10)
    clock.now += 0.5
    assert quota.take("a", 5) == 0.0
    clock.now += 3600
    assert quota.take("a", 10) == 0.0
    assert quota.take("a", 1) > 0


def test_a_refusal_takes_nothing(clock: Clock):
    quota = Quota(10, clock)
    quota.take("a", 8)
    assert quota.take("a", 5) == pytest.approx(0.3)
    assert quota.take("a", 2) == 0.0


def test_a_batch_larger_than_a_second_worth_is_granted_and_paid_off(clock: Clock):
    quota = Quota(10, clock)
    assert quota.take("a", 25) == 0.0
    assert quota.take("a", 1) == pytest.approx(1.6)
    clock.now += 1.7
    assert quota.take("a", 1) == 0.0


def test_keys_do_not_share(clock: Clock):
    quota = Quota(1, clock)
    assert quota.take("a", 1) == 0.0
    assert quota.take("b", 1) == 0.0
    assert quota.take("a", 1) > 0


def test_only_so_many_keys_are_remembered(clock: Clock):
    quota = Quota(1, clock, keys=2)
    for key in "abc":
        quota.take(key, 1)
    assert quota.take("a", 1) == 0.0
