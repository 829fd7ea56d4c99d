"""P27 to P30: what changes while deliveries are pending, a store that goes away, a journal that is full, a loop."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from test_delivery_worker import DELIVERED, Outbox, P, Sender, owe, working

from actionmap.app import build_api, open_parts, open_producer
from actionmap.collect.producer import Outgoing
from actionmap.delivery import RetryPolicy
from actionmap.embedded import free_port
from actionmap.process import listen
from actionmap.serving import serve_http
from actionmap.settings import load_settings
from actionmap.store.redis import RedisStore
from dead_receiver import PATIENT_RETRY, evaluating
from hostile.sending import delivery, sender, wall_clock
from hostile.server import OK, answer, answering
from support import definitions, event, rules, until
from unit.test_collect_router import GOOD, Site, site  # noqa: F401 - a fixture


@asynccontextmanager
async def stack(broker, valkey, unique, **more):
    """Parts on one partition, and how to post an event."""
    settings = load_settings(
        kafka_bootstrap_servers=broker, redis_url=valkey, redis_prefix=unique, events_topic=unique,
        consumer_group=unique, events_topic_partitions=1, egress_allow="127.0.0.1/32", **more,
    )  # fmt: skip
    async with open_parts(settings) as parts:
        yield parts


def patient(url, **integration):
    written = rules(url, **integration)
    written[2]["delivery"] = PATIENT_RETRY
    return written


async def send(parts, *values):
    async with await open_producer(parts.settings) as producer:
        await producer.send_many([Outgoing("v", value) for value in values])


def ids(server):
    return Counter(request.split(b"webhook-id: ")[1].partition(b"\r\n")[0] for request in server.requests)


async def test_p27_a_deleted_webhook_still_owes_what_it_owed_and_stops_nothing(broker, valkey, unique):
    """A delivery holds what it needs: deleting webhook, data action and map ends what is decided, not what is owed."""
    async with stack(broker, valkey, unique) as parts, answering(answer(503)) as server:
        written = definitions(patient(server.url))
        await parts.registry.change(written)
        async with evaluating(parts):
            await send(parts, event(attributes={"n": 1}))
            await until(lambda: _is(server.requests), "a first attempt is made")
            integration = next(key for key, one in written.items() if one.kind_name == "Integration")
            await parts.registry.change({}, frozenset(written) - {integration})
            server.answers = [OK]
            await until(lambda: _is_settled(parts), "what was owed is delivered")
            await parts.registry.change(definitions(patient(server.url)))
            await send(parts, event(attributes={"n": 2}))
            await until(lambda: _is(len(ids(server)) == 2), "the partition goes on")
            await until(lambda: _is_settled(parts), "that is settled too")
        assert await parts.store.dead_letters(0, limit=9) == []


async def test_p27_an_integration_that_moves_takes_what_is_pending_along_and_one_that_is_deleted_ends_it(
    broker, valkey, unique
):
    async with stack(broker, valkey, unique) as parts, answering(answer(503)) as old, answering(OK) as new:
        await parts.registry.change(definitions(patient(old.url)))
        async with evaluating(parts):
            await send(parts, event(attributes={"n": 1}))
            await until(lambda: _is(old.requests), "a first attempt is made")
            await parts.registry.change(definitions(patient(new.url)))
            await until(lambda: _is_settled(parts), "it goes where the integration points now")
            assert ids(new).keys() == ids(old).keys()
            there = definitions(patient(old.url))
            await parts.registry.change(there)
            await send(parts, event(attributes={"n": 2}))
            await until(lambda: _is(len(ids(old)) == 2), "it is tried")
            await parts.registry.change({}, frozenset(there))
            await until(lambda: _is_settled(parts), "it is given up")
        (letter,) = await parts.store.dead_letters(0, limit=9)
        assert (letter.reason, letter.delivery.attempts >= 1) == ("integration-gone", True)


async def _is(fact):
    return bool(fact)


async def _is_settled(parts):
    return await parts.store.outbox_size(0) == 0


async def test_p28_while_the_store_is_away_what_was_accepted_is_not_sent_again_and_is_settled_after():
    """However long: the store is asked again and again, the receiver is not."""
    outbox, made = Outbox(), 5
    await owe(outbox, [delivery(id=f"d{n}", owed_at=wall_clock(), retry=RetryPolicy(3, (0,))) for n in range(made)])
    outbox.away.update({"ack", "nack", "bury"})
    to_sender = Sender(DELIVERED)
    async with working(outbox, to_sender) as worker:
        await to_sender.until(lambda: len(to_sender.sent) == made)
        for turn in range(1, 4):
            # Its leases end again and again.
            due = outbox._partitions[P].due
            due.update(dict.fromkeys(due, wall_clock()))
            worker.wake(P)
            await outbox.until(lambda turn=turn: outbox.calls["ack"] > turn and outbox.calls["lease"] > turn)
        outbox.away.clear()
        await outbox.until_empty()
    assert Counter(to_sender.ids()) == {f"d{n}": 1 for n in range(made)}


async def test_p29_the_journal_is_cut_to_its_length_in_steps_whatever_it_held(valkey, unique):
    """Nothing walks over what is kept: each acknowledgement takes at most a thousand out, in the same script."""
    large, small = (
        RedisStore(valkey, prefix=unique, journal=journal, clock=wall_clock) for journal in (5000, 10)
    )  # fmt: skip
    try:
        owed = [delivery(id=f"d{n}") for n in range(2500)]
        await large.claim(P, owner="me", token="t0", cluster="c", partitions=4)
        await owe(large, owed)
        for first in range(0, len(owed), 500):
            await large.ack(P, owed[first : first + 500], now=first)
        lengths = []
        for number in range(3):
            await owe(small, [delivery(id=f"later{number}")])
            await small.ack(P, [delivery(id=f"later{number}")], now=10_000 + number)
            lengths.append(len(await small.journal.newest(P, limit=5000)))
        assert lengths == [1501, 502, 10]
    finally:
        await large.close()
        await small.close()


async def test_p30_a_webhook_into_the_own_collector_is_refused_once_and_counted(broker, valkey, unique):
    """The map fires at what its own webhook would send: without the refusal for ever."""
    port = free_port()
    async with stack(broker, valkey, unique, api_keys="a-long-key:ingest") as parts:
        written = patient(
            f"http://127.0.0.1:{port}", auth={"type": "apiKey", "header": "X-API-Key", "value": "${ACTIONMAP_SECRET_K}"}
        )
        written[1]["request"] = {
            "path": "/v1/events", "body": {"eventName": "order", "visitorId": "{{ visitor }}"},
        }  # fmt: skip
        await parts.registry.change(definitions(written))
        async with await open_producer(parts.settings) as producer, sender() as out:
            with pytest.MonkeyPatch.context() as patch, listen("127.0.0.1", port) as listener:
                patch.setenv("ACTIONMAP_SECRET_K", "a-long-key")
                api = build_api(parts, producer, 1, out, open_access=False)
                serving = asyncio.create_task(serve_http(api, listener))
                async with evaluating(parts):
                    await send(parts, event())
                    await until(lambda: _owed_with(parts, "status 508 Loop Detected"), "the loop is refused")
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        assert parts.metrics.collected.labels("looped")._value.get() >= 1
        assert parts.metrics.collected.labels("accepted")._value.get() == 0
        assert len(await parts.store.owed(0, limit=9)) == 1


async def _owed_with(parts, error):
    return [one.last_error for one in await parts.store.owed(0, limit=9)] == [error]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"webhook-id": "am1_aaaabbbbccccddddeeeeffffgggghhhh"}, 508),
        ({"User-Agent": "actionmap/9.9"}, 508),
        ({"Webhook-Id": "msg_from_somebody_else"}, 202),
        ({"User-Agent": "curl/8 actionmap/1"}, 202),
        ({"actionmap-depth": "-1", "webhook-id": "am1_x"}, 508),
    ],
)
async def test_p30_what_actionmap_sent_is_no_event_whatever_else_it_says(headers, status, site: Site):  # noqa: F811
    answered = await site.post(GOOD, headers={"X-API-Key": "writer-key"} | headers)
    assert answered.status_code == status
    assert (site.counted("looped"), len(site.producer.stored)) == ((1, 0) if status == 508 else (0, 1))


async def test_p30_who_may_not_send_events_is_not_told_of_loops(site: Site):  # noqa: F811
    answered = await site.post(GOOD, headers={"X-API-Key": "nobody", "webhook-id": "am1_x"})
    assert (answered.status_code, site.counted("looped")) == (401, 0)


def test_a_sender_and_the_collector_agree_on_what_is_ours():
    from actionmap.collect.collector import _OUR_OWN
    from actionmap.deliver.request import USER_AGENT
    from actionmap.delivery import delivery_id

    ours = {"user-agent": USER_AGENT, "webhook-id": delivery_id("c", "m", "w", "v", "e")}
    assert all(ours[name].startswith(beginning) for name, beginning in _OUR_OWN)
