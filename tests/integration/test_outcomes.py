"""What a delivery ends with comes back to its visitor and triggers further maps; on a real store and real sockets."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace
from test_pipeline import environment, running

from actionmap.catalog.compile import compile_rulebook
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import outcome_of
from actionmap.errors import FenceMoved
from actionmap.store.redis import RedisStore
from actionmap.telemetry import Metrics
from actionmap.visitor import Visitor, decode_visitor
from support import PARTITION, ScriptedLog, definitions, event, rules, until

Answer = Callable[[str, dict[str, Any]], web.Response]


def found_or_not(path: str, body: dict[str, Any]) -> web.Response:
    return web.json_response({"users": [{"id": "s-1"}] if body["visitor"] == "known" else []})


class Receiver:
    """Answers as told, and keeps path and body of each request."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://127.0.0.1:{1}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.got.append((request.path, body))
        return self.answer(request.path, body)

    def paths(self, visitor: str) -> list[str]:
        return [path for path, body in self.got if body["visitor"] == visitor]


def chained(url: str) -> list[dict[str, Any]]:
    """Look a subscriber up on ``visit``; where there is none, write one; tell of whatever was given up."""
    written = rules(url)
    integration, action, webhook, *_ = written

    def same(of: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
        return copy.deepcopy(of) | {"name": name} | changes

    find = same(action, "find", request={"path": "/find"}, response={
        "variables": {"subscriber": "users.0.id"}, "traits": {"crmId": "$.users[0].id"},
        "onFailure": {"subscriber": "unknown", "broken": True},
    })  # fmt: skip
    write = same(action, "write", request={"path": "/write"})
    say = same(action, "say", request={"path": "/say"})
    once = {"delivery": {"retry": {"attempts": 1}}}
    of_find = {"key": "event.attributes.webhook", "operator": "equal", "value": "find"}
    return [
        integration, find, write, say,
        same(webhook, "find", dataAction="find", **once),
        same(webhook, "write", dataAction="write", **once),
        same(webhook, "say", dataAction="say", **once),
        {"kind": "ActionMap", "name": "look-up", "trigger": {"event": "visit"}, "action": {"webhook": "find"}},
        {"kind": "ActionMap", "name": "write-new", "frequency": "every", "action": {"webhook": "write"},
         "trigger": {"all": [{"event": "webhook_succeeded", "where": [of_find]},
                             {"key": "visitor.variables.subscriber", "operator": "notExists"}]}},
        {"kind": "ActionMap", "name": "say-failed", "frequency": "every", "action": {"webhook": "say"},
         "trigger": {"event": "webhook_failed", "where": [of_find]}},
    ]  # fmt: skip


class Running:
    """A lane and a delivery worker on one store."""

    def __init__(self, store: RedisStore, log: ScriptedLog, receiver: Receiver) -> None:
        self.store, self.log, self.receiver = store, log, receiver

    async def visitor(self, id_: str) -> Visitor | None:
        (stored,) = await self.store.load(PARTITION, [id_])
        return None if stored is None else decode_visitor(stored)

    async def until_idle(self, evaluated: int) -> None:
        async def idle() -> bool:
            fence = await self.store.fence(PARTITION)
            if not fence.token:
                return False
            settled = not await self.store.outbox_size(PARTITION)
            try:
                heard = not await self.store.outcomes(PARTITION, fence.token, limit=1)
            except FenceMoved:  # it has just committed
                return False
            return fence.offset >= evaluated and settled and heard and not await self.store.outbox_size(PARTITION)

        await until(idle, "all deliveries are settled and heard of")


@pytest.fixture
async def store(valkey: str, unique: str) -> AsyncIterator[RedisStore]:
    redis = RedisStore(valkey, prefix=unique, clock=lambda: time.time_ns() // 1_000_000)
    yield redis
    await redis.close()


@asynccontextmanager
async def run(
    store: RedisStore, answer: Answer, write: Callable[[str], list[dict[str, Any]]]
) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver(answer))
        book = compile_rulebook(definitions(write(receiver.url)), 1)
        guard = EgressGuard((), [ip_network("127.0.0.0/8")])
        clock = lambda: time.time_ns() // 1_000_000  # noqa: E731
        sender = await stack.enter_async_context(HttpSender(guard, environment_secrets({}), clock=clock))
        log = ScriptedLog()
        worker = DeliveryWorker(
            outbox=store, find_integration=book.integrations.get, sender=sender, clock=clock, random=lambda: 0.0,
            metrics=Metrics(), listened_to=lambda: book.outcomes_asked,
            on_outcomes=lambda _: log.lane.outcomes_arrived() if log.lane else None,
        )  # fmt: skip
        worker.own(PARTITION)
        sending = asyncio.create_task(worker.run())
        env = environment(store, rulebook=lambda: book, on_owed=worker.wake)  # type: ignore[arg-type]
        async with running(env, log):
            yield Running(store, log, receiver)
            await worker.stop()
            await sending


async def test_an_answer_becomes_variables_and_traits_and_leads_to_the_next_map_by_what_it_said(
    store: RedisStore,
) -> None:
    async with run(store, found_or_not, chained) as running_:
        last = running_.log.append(event("known", "visit"), event("new", "visit"))
        await running_.until_idle(last)
        known, new = await running_.visitor("known"), await running_.visitor("new")
    assert known is not None
    assert new is not None
    assert (known.variables, known.traits) == ({"subscriber": "s-1"}, {"crmId": "s-1"})
    assert (new.variables, new.traits) == ({"subscriber": None}, {})
    assert running_.receiver.paths("known") == ["/find"]
    assert running_.receiver.paths("new") == ["/find", "/write"]
    assert (known.event_count, known.session_count) == (1, 1)  # an outcome touches no counter and no session


async def test_what_is_given_up_sets_the_variables_of_on_failure_and_takes_the_failure_route(store: RedisStore) -> None:
    def down(path: str, _: dict[str, Any]) -> web.Response:
        return web.Response(status=500 if path == "/find" else 200)

    async with run(store, down, chained) as running_:
        await running_.until_idle(running_.log.append(event("v", "visit")))
        visitor = await running_.visitor("v")
    assert visitor is not None
    assert visitor.variables == {"subscriber": "unknown", "broken": True}
    assert running_.receiver.paths("v") == ["/find", "/say"]


async def test_a_delivery_dead_at_birth_takes_the_failure_route_too(store: RedisStore) -> None:
    def write(url: str) -> list[dict[str, Any]]:
        written = chained(url)
        written[1]["request"]["path"] = "/find/{{ visitor }}"
        written[4]["mappings"]["visitor"] = {"lookup": "visitor.traits.nothing"}
        return written

    async with run(store, found_or_not, write) as running_:
        await running_.until_idle(running_.log.append(event("v", "visit")))
    assert running_.receiver.paths("v") == ["/say"]


async def test_maps_that_trigger_one_another_stop_after_five_links(store: RedisStore) -> None:
    def loop(url: str) -> list[dict[str, Any]]:
        written = rules(url)
        again = {"kind": "ActionMap", "name": "again", "trigger": {"event": "webhook_succeeded"}, "frequency": "every",
                 "action": {"webhook": "tell-shop"}}  # fmt: skip
        return [*written, again]

    async with run(store, lambda *_: web.json_response({}), loop) as running_:
        await running_.until_idle(running_.log.append(event("v", "order")))
        assert len(running_.receiver.got) == 6  # the one that the event led to, and five more


async def test_an_outcome_that_another_worker_settled_is_heard_by_the_partitions_owner(store: RedisStore) -> None:
    book = compile_rulebook(definitions(chained("https://shop.example.com")), 1)
    log = ScriptedLog()
    log.append(event("v", "visit"))
    async with running(environment(store, rulebook=lambda: book, idle_check_s=0.02), log):  # type: ignore[arg-type]
        await until(lambda: _holds(store.owed(PARTITION, limit=1)), "the delivery is owed")
        [owed] = await store.owed(PARTITION, limit=9)
        told = outcome_of(owed, "webhook_succeeded", 1, 200, {"subscriber": "s-2"})
        await store.ack(PARTITION, [owed], now=1, outcomes={owed.id: told})

        async def heard() -> bool:
            (stored,) = await store.load(PARTITION, ["v"])
            return stored is not None and decode_visitor(stored).variables == {"subscriber": "s-2"}

        await until(heard, "the visitor has the variable")


async def test_an_outcome_of_a_visitor_who_is_not_known_any_more_is_dropped(store: RedisStore) -> None:
    book = compile_rulebook(definitions(chained("https://shop.example.com")), 1)
    log = ScriptedLog()
    log.append(event("v", "visit"))
    async with running(environment(store, rulebook=lambda: book), log) as lane:  # type: ignore[arg-type]
        await until(lambda: _holds(store.owed(PARTITION, limit=1)), "the delivery is owed")
        [owed] = await store.owed(PARTITION, limit=9)
        gone = replace(owed, visitor_id="gone")
        told = outcome_of(gone, "webhook_succeeded", 1, 200, {"subscriber": "s-2"})
        await store.ack(PARTITION, [owed], now=1, outcomes={owed.id: told})
        lane.outcomes_arrived()

        async def taken() -> bool:
            try:
                return not await store.outcomes(PARTITION, (await store.fence(PARTITION)).token, limit=1)
            except FenceMoved:  # it has just committed
                return False

        await until(taken, "the outcome is taken")
        assert await store.load(PARTITION, ["gone"]) == [None]


async def _holds(answer: Any) -> bool:
    return bool(await answer)
