"""Workers whose partitions the consumer group assigns: they join, leave, die, come back as ghosts; the same oracle."""

import asyncio
import random
from dataclasses import replace

from cuts import Call, Cut
from life import Life
from run import Play, Trial, run, workshop
from scenario import Scenario, log_of, scenario_of


def _scenario(name: str, seed: int, *, each: int) -> Scenario:
    """A log of ``each`` records per partition and half, and nothing that goes wrong but what the test does."""
    log = log_of(random.Random(f"{name} {seed}"), each=each)
    calm = replace(scenario_of("apply:before", seed), lives=(), fsync="always", store_dies=False)
    return replace(calm, point=f"groups:{name}", log=log, rules_change=10)


async def _prove(broker: str, valkey: str, *played: tuple[Scenario, Play]) -> None:
    async with workshop(bootstrap=broker, redis_url=valkey) as shop:
        outcomes = await asyncio.gather(*(run(shop, scenario, play) for scenario, play in played))
    wrong = [one for outcome in outcomes for one in (outcome.point, *outcome.violations[:12]) if outcome.violations]
    assert not wrong, "\n    ".join(wrong)


async def _join(trial: Trial, *cuts: Cut) -> Life:
    return await trial.begin(cuts, partitions=None)


async def test_workers_that_join_leave_and_die_lose_nothing_and_decide_nothing_twice(broker: str, valkey: str) -> None:
    scenario = _scenario("joins", 0, each=60)

    async def play(trial: Trial) -> None:
        """Five workers, never more than two at once; of those before the last, two die and two leave in order."""
        first, second = scenario.log
        await trial.produce(first[:60])
        life = await _join(trial, Cut("apply", "after", 9))
        await life.over_or(trial.is_finished)
        assert life.was_cut
        await trial.produce(first[60:])
        one = await _join(trial)
        await trial.received_more_than(20)
        other = await _join(trial, Cut("post", "after", 12))
        await trial.produce(second[:60])
        await other.over_or(trial.is_finished)
        await one.stop()
        last = await _join(trial)
        await trial.produce(second[60:])
        await last.over_or(trial.is_finished)
        await last.stop()

    await _prove(broker, valkey, (scenario, play))


async def test_workers_frozen_until_the_group_gave_their_partitions_away_change_nothing(
    broker: str, valkey: str
) -> None:
    def played(call: Call) -> tuple[Scenario, Play]:
        scenario = _scenario(f"ghost-{call}", 1, each=20)

        async def play(trial: Trial) -> None:
            first, second = scenario.log
            await trial.produce(first)
            ghost = await _join(trial, Cut(call, "frozen", 3))
            await ghost.over_or(trial.is_finished)
            assert ghost.is_frozen
            heir = await _join(trial)
            await heir.over_or(trial.is_finished)
            ghost.thaw()
            await trial.produce(second)
            await heir.over_or(trial.is_finished)
            await asyncio.gather(ghost.stop(), heir.stop())

        return scenario, play

    await _prove(broker, valkey, played("apply"), played("post"), played("lease"))
