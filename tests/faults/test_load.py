"""More comes than can be evaluated, or all of it for one visitor: it waits in Kafka, and nothing is dropped."""

import asyncio

from actionmap.pipeline import QUEUE_BYTES, QUEUE_RECORDS
from faults.proxy import FaultProxy
from faults.site import Site, until
from support import event

EVENTS = 12_000
#: What one poll may bring on top of a queue that was not full yet.
POLL_RECORDS = 2_000


async def test_what_is_more_than_can_be_evaluated_waits_in_kafka_and_not_in_memory(
    broker: str, valkey: str, unique: str
) -> None:
    async with (
        FaultProxy(valkey.removeprefix("redis://").removesuffix("/0")) as proxy,
        Site(broker, valkey, unique) as site,
    ):
        await site.open_receiver()
        async with site.worker(redis_url=f"redis://{proxy.address}/0") as worker:
            await site.order(1)
            await site.delivered()
            lane = worker.engine.consumer.lanes[0]
            proxy.delay(0.1)  # 500 records then take some 0.4 s
            await site.produce("w", [event("w", "browse", attributes={"n": n}) for n in range(EVENTS)])
            queues, lags = [(0, 0)], [0]

            async def is_full() -> bool:
                queues.append(lane.queued)
                lags.append(worker.engine.consumer.lag().get(0, 0))
                return not lane.wants_records

            await until(is_full, "as many records wait in memory as may")
            proxy.delay(0.05)

            async def has_drained() -> bool:
                await is_full()
                if max(lags) > QUEUE_RECORDS + POLL_RECORDS:
                    await proxy.heal()
                return (await site.store.fence(0)).offset == EVENTS

            await until(has_drained, "all is evaluated")
            await site.order(1)
            await site.delivered()
            assert QUEUE_RECORDS <= max(records for records, _ in queues) <= QUEUE_RECORDS + POLL_RECORDS
            assert max(size for _, size in queues) < QUEUE_BYTES
            assert max(lags) > QUEUE_RECORDS + POLL_RECORDS
            assert (await site.visitor("w")).event_count == EVENTS


async def test_a_visitor_who_sends_without_end_keeps_nobody_from_being_served(
    broker: str, valkey: str, unique: str
) -> None:
    async with Site(broker, valkey, unique) as site, site.worker():
        await site.open_receiver()
        hot = [event("hot", "browse", eventId=f"h{n}", attributes={f"a{n}": "x" * 50}) for n in range(4_000)]
        await site.produce("hot", hot)
        await asyncio.gather(*(site.order(1, f"v{n}") for n in range(10)))
        await site.produce("hot", hot[-50:])  # repeats
        await site.delivered()
        await site.evaluated(len(hot) + 10 + 50 - 1)
        assert (await site.visitor("hot")).event_count == len(hot)
        (stored,) = await site.store.load(0, ["hot"])
        assert stored is not None
        assert len(stored) < 64 * 1024
