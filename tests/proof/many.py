"""Many runs at once: a run mostly waits, for leases to end and for stores to start."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from run import Outcome, Workshop, run
from scenario import describe, scenario_of

#: More would make workers slow enough for leases to end too early.
AT_ONCE = 3 * (os.cpu_count() or 1)


async def outcomes(shop: Workshop, wanted: Iterable[tuple[str, int]]) -> AsyncIterator[Outcome]:
    """The outcome of the run at each point with each seed of ``wanted``, as they come."""
    left = iter(wanted)
    running: set[asyncio.Task[Outcome]] = set()
    try:
        while True:
            for point, seed in left:
                running.add(asyncio.create_task(run(shop, scenario_of(point, seed))))
                if len(running) >= AT_ONCE:
                    break
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def explain(outcome: Outcome) -> str:
    """A failed run in words: what was tried, what was wrong, how to try it again."""
    wrong = outcome.violations if outcome.reached else [*outcome.violations, "the point was never reached"]
    head = f"{outcome.point} with seed {outcome.seed}: {len(wrong)} wrong"
    again = f"again: .venv/bin/python tests/proof/prove.py --point {outcome.point} --seed {outcome.seed}"
    scenario = describe(scenario_of(outcome.point, outcome.seed))
    return "\n    ".join([head, scenario, again, *(one[:4000] for one in wrong[:12])])
