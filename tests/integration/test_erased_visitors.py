"""A visitor is erased by its partition's lane, on a real store; what it was owed is not sent, wherever it lies."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from test_admin import Server
from test_outcomes import Receiver
from test_outcomes import run as run_all
from test_parker import World, delivery
from test_pipeline import environment, running

from actionmap.catalog.compile import compile_rulebook
from actionmap.collect.producer import EventProducer
from actionmap.collect.topic import ensure_topic
from actionmap.decide import judge
from actionmap.decide.checks import Match
from actionmap.delivery import SURVIVES_ALL
from actionmap.errors import Unreachable
from actionmap.store.protocols import Commit
from actionmap.store.redis import RedisStore
from support import PARTITION, ScriptedLog, definitions, event, rules, until

CRM = {"n": {"lookup": "visitor.traits.crmId", "default": 0}, "visitor": {"lookup": "visitor.id"}}


@pytest.fixture
async def store(valkey: str, unique: str) -> AsyncIterator[RedisStore]:
    redis = RedisStore(valkey, prefix=unique, clock=lambda: 7)
    yield redis
    await redis.close()


def written(url: str = "https://shop.example.com") -> list[dict[str, Any]]:
    """Orders are told; so is an erasure, on a path of its own; a map waits for what was added."""
    made = rules(url)
    delay = {"type": "delay", "delaySeconds": 60}
    made += [
        {**made[1], "name": "forget", "request": {"method": "POST", "path": "/forget"}},
        {**made[2], "name": "forget", "dataAction": "forget", "mappings": CRM},
        {**made[3], "name": "forget", "trigger": {"event": "visitor_erased"}, "action": {"webhook": "forget"}},
        {**made[3], "name": "later", "trigger": {"event": "added"}, "activation": delay},
        {**made[3], "name": "learned", "trigger": {"event": "webhook_succeeded"}},
    ]  # fmt: skip
    return made


def own_log() -> ScriptedLog:
    log = ScriptedLog()
    log.own = True
    return log


async def left(store: RedisStore, visitor_id: str) -> list[bytes]:
    """Keys and values of the store that name the visitor."""
    keys = [key async for key in store._redis.scan_iter(match=f"{store._prefix}:*")]
    return [key for key in keys if visitor_id in f"{key!r} {await _value(store, key)}"]


async def _value(store: RedisStore, key: bytes) -> Any:
    redis, kind = store._redis, await store._redis.type(key)
    match kind:
        case b"hash":
            return await redis.hgetall(key)
        case b"zset":
            return await redis.zrange(key, 0, -1)
        case b"list":
            return await redis.lrange(key, 0, -1)
        case b"stream":
            return await redis.xrange(key)
        case _:
            return await redis.get(key)


async def evaluated(store: RedisStore, offset: int) -> None:
    async def there() -> bool:
        return (await store.fence(PARTITION)).offset >= offset

    await until(there, f"the record at {offset} is evaluated")


async def owed(store: RedisStore) -> list[tuple[str, str]]:
    return sorted((one.visitor_id, one.action_map) for one in await store.owed(PARTITION, limit=99))


async def test_nothing_of_an_erased_visitor_is_left_but_what_its_erasure_fired(store: RedisStore) -> None:
    book, log = compile_rulebook(definitions(written())), own_log()
    async with running(environment(store, rulebook=lambda: book), log):  # type: ignore[arg-type]
        await evaluated(store, log.append(
            event("ada-lovelace", "added", traits={"crmId": 7}), event("ada-lovelace"), event("bob"),
            b"no event", key=b"ada-lovelace",
        ))  # fmt: skip
        assert len(await left(store, "ada-lovelace")) == 4  # visitor, timers, outbox, dead records
        await evaluated(store, log.append(event("ada-lovelace", "order"), event("ada-lovelace", "visitor_erased")))
        assert await owed(store) == [("ada-lovelace", "forget"), ("bob", "each-order")]
        (told,) = [one for one in await store.owed(PARTITION, limit=9) if one.action_map == "forget"]
        assert json.loads(told.body or "") == {"n": 7, "visitor": "ada-lovelace"}
        await store.ack(PARTITION, [told], now=9)
        # That this was told is all there is.
        assert await left(store, "ada-lovelace") == [store._key(PARTITION, "j").encode()]

        # Erased once more, this goes, too; and who comes back begins anew.
        await evaluated(store, log.append(event("ada-lovelace", "visitor_erased"), event("ada-lovelace", "order")))
        assert ("ada-lovelace", "each-order") in await owed(store)
        (stored,) = await store.load(PARTITION, ["ada-lovelace"])
        assert json.loads(stored or b"")["event_count"] == 1


async def test_an_erasure_asked_for_over_rest_leaves_the_visitor_s_hash_in_the_audit_and_nothing_else(
    store: RedisStore, broker: str, unique: str
) -> None:
    await ensure_topic(broker, unique, 1)
    server, log = Server(store=store), own_log()
    await server.registry.change(definitions(rules()))
    book = server.registry.rulebook
    async with running(environment(store, rulebook=lambda: book), log):  # type: ignore[arg-type]
        await evaluated(store, log.append(event("ada-lovelace", "added", traits={"crmId": 7}), event("ada-lovelace")))
        assert await left(store, "ada-lovelace")
        async with EventProducer(broker, unique, idempotent=False) as producer:
            server.app._parts["producer"] = producer
            assert (await server.ask("DELETE", "visitors/ada-lovelace")).status_code == 202
        await evaluated(store, log.append(event("ada-lovelace", "visitor_erased")))
        assert await left(store, "ada-lovelace") == []
    assert await left(store, hashlib.sha256(b"ada-lovelace").hexdigest()) == [
        f"{store._prefix}:{{definitions}}:a".encode()
    ]


async def test_the_next_owner_ends_what_was_begun(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    book, log = compile_rulebook(definitions(written())), own_log()
    tried = asyncio.Event()

    async def dies(*_: Any, **__: Any) -> None:
        tried.set()
        raise Unreachable("killed")

    real = store.erasures.sweep
    async with running(environment(store, rulebook=lambda: book), log):  # type: ignore[arg-type]
        await evaluated(store, log.append(event("ada-lovelace")))
        monkeypatch.setattr(store.erasures, "sweep", dies)
        await evaluated(store, log.append(event("ada-lovelace", "visitor_erased")))
        await asyncio.wait_for(tried.wait(), 9)
        assert ("ada-lovelace", "each-order") in await owed(store)
    monkeypatch.setattr(store.erasures, "sweep", real)

    async with running(environment(store, rulebook=lambda: book, owner="next"), log) as lane:  # type: ignore[arg-type]

        async def claimed() -> bool:
            return lane.position is not None

        await until(claimed, "the next owner has claimed")
        assert await owed(store) == [("ada-lovelace", "forget")]


def broken(match: Match) -> None:
    if match.action_map.name == "forget":
        raise ValueError("broken")


async def test_a_map_that_breaks_on_it_is_told_to_people_who_can_replay_it(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, log = compile_rulebook(definitions(written())), own_log()
    monkeypatch.setattr(judge, "obstacle", broken)
    async with running(environment(store, rulebook=lambda: book), log):  # type: ignore[arg-type]
        await evaluated(store, log.append(event("ada"), event("ada", "visitor_erased", eventId="bye"), key=b"ada"))
        (letter,) = await store.dead_letters(PARTITION, limit=9)
        assert (letter.reason, letter.action_maps, letter.survives) == ("action-map-error", ("forget",), SURVIVES_ALL)
        await evaluated(store, log.append(event("ada", "visitor_erased"), key=b"ada"))
        assert letter in await store.dead_letters(PARTITION, limit=9)


class Held(Receiver):
    """Answers ``/told`` when it is told to."""

    def __init__(self, answer: Callable[..., web.Response]) -> None:
        super().__init__(answer)
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def _receive(self, request: web.Request) -> web.Response:
        if request.path == "/told":
            self.asked.set()
            await self.may.wait()
        return await super()._receive(request)


async def test_what_was_on_its_way_makes_nobody_known_and_teaches_nobody_who_came_back(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_outcomes.Receiver", Held)
    answer = {"lead": 7}

    def learns(url: str) -> list[dict[str, Any]]:
        made = written(url)
        made[1]["response"] = made[5]["response"] = {"variables": {"lead": "lead"}}
        made[1]["contract"]["output"] = {"type": "object", "properties": {"lead": {"type": "integer"}}}
        return made

    async with run_all(store, lambda *_: web.json_response(answer), learns) as all_:
        all_.log.own, receiver = True, all_.receiver
        assert isinstance(receiver, Held)
        await evaluated(store, all_.log.append(event("ada", "order")))
        await asyncio.wait_for(receiver.asked.wait(), 9)
        last = all_.log.append(event("ada", "visitor_erased"), event("ada", "x"))
        await evaluated(store, last)

        async def told() -> bool:
            return receiver.paths("ada") == ["/forget"]

        await until(told, "the erasure was told")
        receiver.may.set()
        await all_.until_idle(last)
        visitor = await all_.visitor("ada")
        assert visitor is not None
        assert (visitor.event_count, visitor.variables) == (1, {})
        assert receiver.paths("ada") == ["/forget", "/told"]


async def test_of_parked_deliveries_those_from_before_the_erasure_are_dropped() -> None:
    world = World()
    await world.store.claim(PARTITION, owner="w", token="t", cluster="c", partitions=4)
    before = [delivery(f"before-{n}", visitor_id="ada") for n in range(60)]
    others = [delivery(f"other-{n}", visitor_id="bob") for n in range(20)]
    world.receivers.down.add("dead")
    async with world.working():
        await world.owe([*before, *others])

        async def parked() -> bool:
            return sum((await world.store.parked(PARTITION)).parked.values()) >= 60

        await until(parked, "most of them are parked")
        fence = await world.store.fence(PARTITION)
        goodbye = delivery("goodbye", visitor_id="ada", survives=SURVIVES_ALL)
        made = Commit(fence.token, "e", fence.offset + 1, 0, 0, erased=["ada"], erasures=1, deliveries=[goodbye])
        await world.store.apply(PARTITION, made)
        await world.store.erasures.sweep(PARTITION, "e")
        await world.owe([delivery("new", visitor_id="ada", survives=1)])
        already = set(world.receivers.ids())
        world.receivers.down.clear()
        world.wake()
        expected = {"goodbye", "new"}

        async def all_there() -> bool:
            found = await world.store.parked(PARTITION)
            return found.position >= found.end and expected <= set(world.receivers.ids())

        await until(all_there, "what is parked is taken back")
    assert not already
    assert not [id_ for id_ in world.receivers.ids() if id_.startswith("before")]
    assert (await world.store.parked(PARTITION)).parked == {}
