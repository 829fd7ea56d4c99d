"""What a worker process does: the real engine, with faults between its parts."""

import asyncio
import socket
from typing import Any, cast

from cuts import REMEMBERED_IDS, Cut
from injection import Faults, FaultySender, FaultyStore, cut_consumer

from actionmap import engine, evaluation, pipeline, visitor
from actionmap.app import open_store
from actionmap.consume import kafka
from actionmap.deliver import worker
from actionmap.engine import Engine, Options
from actionmap.registry import Registry
from actionmap.settings import Settings
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics, configure_logging

# Small, so that a short log has many batches.
pipeline.BATCH_RECORDS, evaluation.TIMERS_AT_ONCE, worker.BATCH = 4, 2, 3
# Few, so that an event that is judged again is taken for a new one.
visitor.REMEMBERED_IDS = REMEMBERED_IDS
# Often, so that a short run has several.
engine._REFRESH_EVERY_S = kafka._COMMIT_EVERY_S = 0.1


async def work(job: Any, line: socket.socket) -> None:
    """Run an engine as ``job`` (`forker.Job`) says, until the run says ``!`` over ``line``."""
    configure_logging("info", "json")
    settings = Settings(**job.settings)
    faults = Faults([Cut(*cut) for cut in job.cuts], line)
    store = open_store(settings)
    faulty = cast(RedisStore, FaultyStore(store, faults, tells_floor=job.tells_floor))
    options = Options(
        partitions=job.partitions, lease_ms=job.lease_ms, wrap_sender=lambda sender: FaultySender(sender, faults)
    )
    running = Engine(settings, options, faulty, Registry(store), Metrics())
    cut_consumer(running.consumer, faults)
    stop = asyncio.create_task(_stop_when_told(running, line))
    try:
        await running.run()
    finally:
        stop.cancel()
        await store.close()


async def _stop_when_told(running: Engine, line: socket.socket) -> None:
    line.setblocking(False)
    while await asyncio.get_running_loop().sock_recv(line, 1) not in (b"!", b""):
        pass
    running.stop()
