"""The fence in the small: ours holds under every schedule tried, and the model finds out designs that do not."""

from collections.abc import Iterator

import pytest
from fence_model import BROKEN, OURS, Variant, World, violations

#: Some ten seconds in all; `python tests/model/fence_model.py --runs 100000` is the long form.
RUNS = 2_500
#: Where the search for a violation begins, for designs that break in one of several thousand runs.
RARE = {"compares offset and sequence, epoch; timers": 3_200}


@pytest.mark.parametrize("variant", OURS, ids=lambda variant: variant.name)
def test_nothing_is_lost_or_decided_twice_under_any_schedule_tried(variant: Variant) -> None:
    assert violations(variant, range(RUNS)) == {}


@pytest.mark.parametrize("variant", BROKEN, ids=lambda variant: variant.name)
def test_a_design_that_only_looks_right_is_found_out(variant: Variant) -> None:
    def outcomes() -> Iterator[str]:
        start = RARE.get(variant.name, 0)
        return (World(variant, seed).run() for seed in range(start, start + 2_000))

    assert any(outcomes())
