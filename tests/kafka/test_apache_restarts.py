"""Broker, store, or both are killed and come back while events stream: nothing is lost, nothing decided twice."""

from pathlib import Path

import pytest

from kafka.apache import ApacheKafka
from kafka.stream import Store, Stream


@pytest.mark.parametrize("killed", ["broker", "store", "both"])
async def test_every_event_is_decided_once_although_these_are_killed_in_mid_stream(
    killed: str, apache: ApacheKafka, unique: str, tmp_path: Path
) -> None:
    async with (
        Store(tmp_path / "store") as store,
        Stream(apache.bootstrap, store.url, unique, tmp_path) as stream,
        stream.worker() as worker,
    ):
        async with stream.flowing():
            await stream.more_webhooks()
            if killed != "broker":
                await store.kill()
            if killed != "store":
                await apache.restart()
            if killed != "broker":
                await store.start()
            await stream.more_webhooks()
        assert await stream.check(delivered=killed == "broker") > 400
        assert "Traceback" not in worker.output()
