"""Runs `actionmap` as a long-lived process, listens to what it says, and takes the webhooks it sends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from standardwebhooks import Webhook

from actionmap.demo.receiver import Received, Receiver
from support import rules

#: An embedded broker lets a group wait half of its members' session time-out (45 s) for more members.
PATIENCE_S = 60.0
SECRET = "whsec_bm90IHJlYWxseSBhIHNlY3JldCBhdCBhbGw="
SECRETS = {"ACTIONMAP_SECRET_SHOP": "shop-token", "ACTIONMAP_SECRET_SIGN": SECRET}
KEY = "only-for-tests"


class Process:
    """One running command; standard output and error come together."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._said = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._said:
                self._lines.append(line.decode())
                self._said.notify_all()
        async with self._said:
            self._lines.append("")
            self._said.notify_all()

    def output(self) -> str:
        return "".join(self._lines)

    async def says(self, text: str) -> str:
        """Wait for a line with ``text``, and give what follows ``text`` in it."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._said:
                await self._said.wait_for(lambda: text in self.output() or self._lines[-1:] == [""])
        except TimeoutError:
            raise AssertionError(f"never said {text!r}:\n{self.output()}") from None
        assert text in self.output(), f"ended without {text!r}:\n{self.output()}"
        return self.output().partition(text)[2].partition("\n")[0].strip()

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self._process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self._process.wait()


@asynccontextmanager
async def running(*args: str, cwd: Path, env: Mapping[str, str] = {}) -> AsyncIterator[Process]:
    """``actionmap`` with ``args``, killed in the end unless it has ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACTIONMAP_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "actionmap", *args, cwd=cwd, env={**clean, "COLUMNS": "200", **SECRETS, **env},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    talk = Process(process)
    try:
        yield talk
    finally:
        if process.returncode is None:
            process.kill()
        await talk._reading
        await process.wait()


def shop_rules(base_url: str) -> list[dict[str, Any]]:
    """`support.rules` for a shop that wants a token and a signature."""
    return rules(
        base_url,
        auth={"type": "bearer", "token": "${ACTIONMAP_SECRET_SHOP}"},
        signing={"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_SIGN}"},
    )


def write_rules(folder: Path, base_url: str) -> Path:
    """A folder with `shop_rules`."""
    folder.mkdir()
    (folder / "shop.yaml").write_text(yaml.safe_dump_all(shop_rules(base_url)))
    return folder


async def post(url: str, *events: dict[str, Any], key: str = "") -> dict[str, Any]:
    """Send ``events`` over HTTP; the answer."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = await client.post(f"{url}/v1/events", json=list(events), headers=headers)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def check_webhook(request: Received, **body: Any) -> None:
    """That ``request`` carries ``body``, is authenticated, and is signed as a foreign library expects it."""
    assert (request.method, request.path) == ("POST", "/told")
    assert json.loads(request.body) == body
    assert request.headers["authorization"] == "Bearer shop-token"
    assert request.headers["idempotency-key"] == request.headers["webhook-id"]
    Webhook(SECRET).verify(request.body, dict(request.headers))


async def check_main_path(
    bootstrap: str, redis_url: str, name: str, folder: Path, *, more: Mapping[str, str] = {}
) -> None:
    """An event over HTTP becomes a webhook, by `serve` and `run` as two processes; SIGTERM ends both in order."""
    env = {
        "ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "ACTIONMAP_REDIS_URL": redis_url,
        "ACTIONMAP_REDIS_PREFIX": name, "ACTIONMAP_EVENTS_TOPIC": name, "ACTIONMAP_CONSUMER_GROUP": name,
        "ACTIONMAP_EVENTS_TOPIC_PARTITIONS": "2", "ACTIONMAP_PORT": "0", "ACTIONMAP_METRICS_PORT": "0",
        "ACTIONMAP_EGRESS_ALLOW": "127.0.0.1/32", "ACTIONMAP_API_KEYS": f"{KEY}:read+edit+publish+ingest", **more,
    }  # fmt: skip
    async with Receiver() as receiver, running("serve", cwd=folder, env=env) as serve:
        url = (await serve.says("collector and admin REST at ")).partition(",")[0]
        async with httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False
        ) as client:
            put = await client.put("/api/v1/definitions", json={"definitions": shop_rules(receiver.url)})
            assert put.status_code == 200, put.text
        async with running("run", cwd=folder, env=env) as run:
            health = await run.says("health and metrics at ")
            assert "ACTIONMAP_EGRESS_ALLOW allows 127.0.0.1/32" in run.output()
            await post(url, {"eventName": "order", "visitorId": "ada", "attributes": {"n": 1}}, key=KEY)
            await receiver.wait_for(1, PATIENCE_S)
            await post(url, {"eventName": "order", "visitorId": "ada", "attributes": {"n": 2}}, key=KEY)
            first, second = await receiver.wait_for(2, PATIENCE_S)
            check_webhook(first, n=1, visitor="ada")
            check_webhook(second, n=2, visitor="ada")
            async with httpx.AsyncClient(base_url=health, trust_env=False) as client:
                ready = await client.get("/health/ready")
                assert (ready.status_code, ready.json()["activeMaps"]) == (200, 2)
                assert 'actionmap_events_total{outcome="judged"} 2.0' in (await client.get("/metrics")).text
            assert await run.stop(signal.SIGTERM) == 0, run.output()
        answered = asyncio.create_task(_slow_request(url, serve))
        assert "202 Accepted" in await answered
        async with asyncio.timeout(PATIENCE_S):
            assert await serve._process.wait() == 0, serve.output()
    assert len(receiver.requests) == 2
    for process in (serve, run):
        assert "Traceback" not in process.output()
        assert not any(secret in process.output() for secret in (KEY, *SECRETS.values()))


async def _slow_request(url: str, serve: Process) -> str:
    """An event whose second half comes after SIGTERM; what is answered."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"eventName": "visit", "visitorId": "bob"}).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        assert b"100 Continue" in await reader.readline()  # so the request is being read
        serve._process.send_signal(signal.SIGTERM)
        await _refused(host, int(port))
        writer.write(body)
        answer = (await reader.read()).decode()
    writer.close()
    return answer


async def _refused(host: str, port: int) -> None:
    """Wait until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return
        writer.close()
        await writer.wait_closed()
