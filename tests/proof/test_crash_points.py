"""A real worker, killed at each await of its way, loses nothing and decides nothing twice, by a sequential oracle."""

import asyncio
import os
from collections import Counter
from itertools import product

from cuts import POINTS
from many import explain, outcomes
from run import workshop

#: One with a store that keeps all, one with a store that dies too and loses its tail. More: `make prove`, or SEEDS=3.
SEEDS = range(int(os.environ.get("SEEDS", "2")))
#: Seconds for all of them; usually a third of it.
LIMIT_S = 240


async def test_a_worker_killed_anywhere_loses_nothing_and_decides_nothing_twice(broker: str, valkey: str) -> None:
    wanted = [(point, seed) for seed, point in product(SEEDS, POINTS)]
    async with workshop(bootstrap=broker, redis_url=valkey) as shop, asyncio.timeout(LIMIT_S):
        found = [outcome async for outcome in outcomes(shop, wanted)]
    wrong = [explain(outcome) for outcome in found if outcome.violations or not outcome.reached]
    assert not wrong, "\n\n".join(wrong)
    assert Counter(outcome.point for outcome in found) == dict.fromkeys(POINTS, len(SEEDS))
    # What makes the proof one: stores did lose what they had acknowledged, and requests did come twice.
    assert sum(outcome.lost for outcome in found) > 0
    assert sum(outcome.repeats for outcome in found) > len(POINTS)
