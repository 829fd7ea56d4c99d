"""What people can read of each attempt: on a real store and real sockets, and nothing of any body unless asked for."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
import structlog
from aiohttp import web
from redis.asyncio import Redis

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import MOST_OF_BODY, Delivery, RetryPolicy
from actionmap.store.protocols import Commit
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics
from support import until

P = 3
SECRET = "M0ST-secret/0815" + 20 * "-long"
#: Stand in the body that is sent and in the one that comes back, and may be seen nowhere.
SENT, RECEIVED = "marker-of-the-request", "marker-of-the-answer"
BEARER = {"type": "bearer", "token": "${ACTIONMAP_SECRET_A}"}
Answer = Callable[[web.Request], Awaitable[web.Response]]


def clock() -> int:
    return time.time_ns() // 1_000_000


def delivery(id_: str = "a", **given: Any) -> Delivery:
    return Delivery(**{
        "id": id_, "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "ada", "event_id": "e",
        "at": 1, "owed_at": clock(), "method": "POST", "target": "/hook", "body": json.dumps({"x": SENT}),
        "retry": RetryPolicy(attempts=3, schedule=(0,)), **given,
    })  # fmt: skip


@pytest.fixture
async def store(valkey: str, unique: str) -> AsyncIterator[RedisStore]:
    redis = RedisStore(valkey, prefix=unique, clock=clock)
    yield redis
    await redis.close()


@asynccontextmanager
async def receiver(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://127.0.0.1:{1}".format(*runner.addresses[0][:2])
    await runner.cleanup()


async def deliver(store: RedisStore, answer: Answer, *deliveries: Delivery) -> None:
    """Owe ``deliveries``, and attempt them until none is owed any more."""
    fence = await store.claim(P, owner="me", token="t", cluster="c", partitions=4)
    await store.apply(P, Commit(fence.token, "t1", 1, 0, 0, deliveries=deliveries))
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    secrets = environment_secrets({"ACTIONMAP_SECRET_A": SECRET})
    async with receiver(answer) as url, HttpSender(guard, secrets, clock=clock) as sender:
        integration = Integration.model_validate({"name": "crm", "baseUrl": url, "auth": BEARER})
        worker = DeliveryWorker(
            outbox=store, find_integration=lambda _: integration, sender=sender, clock=clock, random=lambda: 0.0,
            metrics=Metrics(),
        )  # fmt: skip
        worker.own(P)
        sending = asyncio.create_task(worker.run())

        async def idle() -> bool:
            return not await store.outbox_size(P)

        await until(idle, "all deliveries are settled")
        await worker.stop()
        await sending


async def everything(url: str, prefix: str) -> str:
    """All that the store holds."""
    redis = Redis.from_url(url)
    texts = []
    async for key in redis.scan_iter(match=f"{prefix}:*"):
        kind = await redis.type(key)
        value = await {b"hash": redis.hgetall, b"string": redis.get}.get(kind, redis.type)(key)
        texts.append(repr((key, value)))
    await redis.aclose()
    return "\n".join(texts)


async def test_each_attempt_is_told_with_status_error_time_sizes_and_the_next_try(store: RedisStore) -> None:
    statuses = iter([503, 429, 200])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=next(statuses), body=b"x" * 70)

    began = clock()
    await deliver(store, answer, delivery())
    (kept,) = await store.journal.newest(P, limit=9)
    assert [(one.outcome, one.status) for one in kept.log] == [("retry", 503), ("retry", 429), ("delivered", 200)]
    assert [one.error for one in kept.log] == ["status 503 Service Unavailable", "status 429 Too Many Requests", None]
    assert all((one.request_bytes, one.response_bytes) == (len(delivery().body or ""), 70) for one in kept.log)
    assert all(0 < one.duration_s < 20 for one in kept.log)
    times = [one.at for one in kept.log]
    assert times == sorted(times)
    assert began - 5 <= times[0] <= clock()
    waits = [one.next_try_at for one in kept.log]
    assert waits[2] is None
    assert all(wait is not None and wait >= one.at for wait, one in zip(waits[:2], kept.log, strict=False))
    assert kept.attempts == 3


async def test_a_dead_delivery_keeps_its_attempts_and_so_does_one_that_is_brought_back(store: RedisStore) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500)

    await deliver(store, answer, delivery())
    letter = await store.dead_letter(P, "a")
    assert letter is not None
    assert letter.delivery is not None
    assert [one.outcome for one in letter.delivery.log] == ["retry", "retry", "dead"]
    assert [one.next_try_at is None for one in letter.delivery.log] == [False, False, True]


async def test_nothing_of_a_body_is_kept_or_logged_by_default(store: RedisStore, valkey: str, unique: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=200 if request.path == "/yes" else 400, text=RECEIVED)

    with structlog.testing.capture_logs() as lines:
        await deliver(store, answer, delivery("good", target="/yes"), delivery("bad", target="/no"))
    assert len(await store.journal.newest(P, limit=9)) == 1
    assert len(lines) >= 4
    told = await everything(valkey, unique)
    assert told.count(SENT) == 1  # of the dead one, which may be owed again
    assert RECEIVED not in told
    assert not any(marker in repr(lines) for marker in (SENT, RECEIVED))


async def test_what_is_asked_for_is_kept_cut_and_without_the_credentials_that_an_answer_echoes(
    store: RedisStore, valkey: str, unique: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        echoed = {**request.headers, "seen": RECEIVED, "encoded": SECRET.replace("/", "%2F"), "more": SECRET}
        return web.json_response({**echoed, "filler": "é" * 9000})

    with structlog.testing.capture_logs() as lines:
        await deliver(store, answer, delivery(logs_request=True, logs_response=True))
    (kept,) = await store.journal.newest(P, limit=9)
    body = kept.log[0].response_body
    assert body is not None
    assert RECEIVED in body
    assert "Bearer ***" in body
    assert len(body) == MOST_OF_BODY < kept.log[0].response_bytes
    assert kept.body == delivery().body
    for text in (await everything(valkey, unique), repr(lines)):
        assert "0815" not in text
    assert RECEIVED not in repr(lines)


async def test_half_of_a_secret_at_the_end_of_what_was_read_is_not_kept_either(store: RedisStore) -> None:
    async def answer(request: web.Request) -> web.Response:
        # Scrubbed, each shrinks to a mask, so that what stands where reading ended moves into what is kept.
        return web.Response(text=(SECRET * 9000)[: 64 * 1024 + 5])

    await deliver(store, answer, delivery(logs_response=True))
    (kept,) = await store.journal.newest(P, limit=9)
    body = kept.log[0].response_body
    assert body is not None
    assert set(body) <= {"*"}


async def test_an_attempt_without_an_answer_says_so_and_has_no_size(store: RedisStore) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    await deliver(store, answer, delivery(logs_response=True, retry=RetryPolicy(attempts=1)))
    letter = await store.dead_letter(P, "a")
    assert letter is not None
    assert letter.delivery is not None
    (record,) = letter.delivery.log
    assert (record.outcome, record.status, record.response_bytes, record.response_body) == ("dead", None, 0, None)
    assert record.error == "the connection broke off before an answer"


async def test_who_does_not_ask_for_the_answer_is_not_even_handed_it() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=RECEIVED)

    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    async with receiver(answer) as url, HttpSender(guard, environment_secrets({}), clock=clock) as sender:
        integration = Integration.model_validate({"name": "crm", "baseUrl": url})
        silent = await sender.send(delivery(), integration)
        asked = await sender.send(delivery(logs_response=True), integration)
    assert (silent.response_body, silent.response_headers, silent.response_bytes) == (None, {}, len(RECEIVED))
    assert (asked.response_body, asked.response_headers["Content-Length"]) == (RECEIVED, str(len(RECEIVED)))
