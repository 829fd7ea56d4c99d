"""The watchdog beside a real consumer that stops advancing, asking a real broker with a client of its own."""

import asyncio
import subprocess
import sys
import time
from functools import partial

import pytest

from actionmap.collect.producer import EventProducer, Outgoing
from actionmap.collect.topic import ensure_topic
from actionmap.consume.ends import has_record, log_ends
from actionmap.consume.kafka import KafkaConsumer, KafkaOptions
from actionmap.consume.parse import Record
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, free_port
from actionmap.errors import Stuck
from actionmap.telemetry import Metrics
from actionmap.watchdog import Watchdog
from support import PATIENCE_S, event

WATCHDOG_S = 0.4


class StandingLane:
    """A lane that takes records, and no further step: as one would whose next step never returns."""

    def __init__(self) -> None:
        self.position: int | None = 0
        self.halted = self.waits_for = ""
        self._closed = asyncio.Event()

    wants_records = True

    def offer(self, records: list[Record]) -> None:
        pass

    def log_ended(self, end: int, at: float) -> None:
        pass

    def rewind(self) -> None:
        pass

    async def run(self) -> None:
        await self._closed.wait()

    async def close(self) -> None:
        self._closed.set()


class Worker:
    """One consumer whose lane stands, and its watchdog.

    ``asks`` is where the watchdog asks, if not at the broker; ``marks`` are offsets at the end that hold no
    record, as a transaction leaves them, which the embedded broker does not have.
    """

    def __init__(self, broker: str, topic: str, *, asks: str = "", marks: int = 0) -> None:
        self.lane = StandingLane()
        self.alarms: list[float | None] = []
        self.asked = asyncio.Event()
        options = KafkaOptions(
            bootstrap_servers=broker, topic=topic, group=topic, session_timeout_ms=EMBEDDED_SESSION_TIMEOUT_MS
        )
        self.consumer = KafkaConsumer(
            options, lambda *_: self.lane, metrics=Metrics(), durable_offset=_nothing_yet, monotonic=time.monotonic
        )
        where = (asks or broker, topic)

        async def ends() -> dict[int, int]:
            try:
                return {partition: end + marks for partition, end in (await log_ends(*where)).items()}
            finally:
                self.asked.set()

        self.watchdog = Watchdog(
            WATCHDOG_S, lambda: self.consumer.lanes, log_ends=ends, has_record=partial(has_record, *where),
            clock=time.monotonic, end_after=self.alarms.append,
        )  # fmt: skip

    async def watched(self) -> None:
        """Run both until the watchdog gives up."""
        running = asyncio.create_task(self.consumer.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.consumer.assigned.wait()
                await self.watchdog.run()
        finally:
            self.consumer.stop()
            await running

    async def goes_on(self) -> None:
        """Wait until Kafka was asked more often than a stuck worker survives."""
        watching = asyncio.create_task(self.watched())
        try:
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(10):
                    self.asked.clear()
                    await self.asked.wait()
            assert not watching.done()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _nothing_yet(_: int) -> int:
    return -1


async def _send(broker: str, topic: str, number: int) -> None:
    await ensure_topic(broker, topic, 1)
    async with EventProducer(broker, topic, idempotent=False) as producer:
        for _ in range(number):  # one batch each: the embedded broker tells the end by whole batches
            await producer.send_many([Outgoing("v", event())])


async def test_a_worker_that_lags_and_does_not_advance_gives_up_and_has_little_time_to_end(
    broker: str, unique: str
) -> None:
    await _send(broker, unique, 3)
    worker = Worker(broker, unique)
    with pytest.raises(Stuck, match=r"partition 0 at 0 of \d"):
        await worker.watched()
    assert worker.alarms[-1] == 10.0


async def test_a_worker_that_has_evaluated_everything_goes_on(broker: str, unique: str) -> None:
    await _send(broker, unique, 3)
    worker = Worker(broker, unique)
    worker.lane.position = 3
    await worker.goes_on()
    assert worker.alarms[-1] is None


async def test_nobody_is_ended_while_kafka_does_not_answer(broker: str, unique: str) -> None:
    await _send(broker, unique, 3)
    await Worker(broker, unique, asks=f"127.0.0.1:{free_port()}").goes_on()


async def test_an_offset_without_a_record_is_nothing_to_lag_behind(broker: str, unique: str) -> None:
    await _send(broker, unique, 2)
    worker = Worker(broker, unique, marks=2)
    worker.lane.position = 2
    await worker.goes_on()
    assert await has_record(broker, unique, 0, 1)
    assert not await has_record(broker, unique, 0, 2)


BLOCKED = """
import asyncio, time
from actionmap.watchdog import Watchdog, end_after
async def main():
    dog = Watchdog(0.2, dict, log_ends=None, has_record=None, clock=time.monotonic, end_after=end_after)
    watching = asyncio.create_task(dog.run())
    await asyncio.sleep(0)
    time.sleep(60)
asyncio.run(main())
"""


def test_a_process_whose_event_loop_is_blocked_ends_with_1_and_shows_where() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert "line 8 in main" in done.stderr


GIVING_UP = """
import sys
import actionmap.app as parts
from actionmap.cli import app
from actionmap.errors import Stuck
async def give_up(*_):
    raise Stuck("no progress")
parts.run_engine = give_up
sys.argv = ["actionmap", "run"]
app.main()
"""


def test_run_ends_with_1_when_the_watchdog_gives_up_so_that_it_is_started_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIVING_UP], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, "error: no progress" in done.stderr) == (1, True), done.stderr
