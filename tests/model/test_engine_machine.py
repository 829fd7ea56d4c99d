"""The lane is driven through every fault at random, and ends where a sequential evaluation does."""

import pytest
from engine_machine import run


@pytest.mark.usefixtures("quiet")
def test_whatever_happens_the_store_ends_as_if_each_event_and_timer_had_come_once_in_order() -> None:
    run(2_500, derandomize=True)
