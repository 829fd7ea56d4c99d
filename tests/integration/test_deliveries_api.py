"""Deliveries over REST: listed by what is asked for, shown with their attempts, replayed in numbers and paced."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace
from test_admin import RULES, Server, owed
from test_outcomes import Receiver

from actionmap.admin.replay import MOST_OWED
from actionmap.catalog.models import Integration
from actionmap.consume.ends import partition_of
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.worker import DeliveryWorker
from actionmap.delivery import Attempt, DeadLetter, Delivery, with_attempt
from actionmap.golive import counted_lookups
from actionmap.process import wall_clock
from actionmap.store.protocols import Commit
from actionmap.telemetry import LookupCounts, Metrics
from support import definitions, until

FAILED = Attempt("retry", status=503, error="status 503 Service Unavailable", duration_s=0.1234, response_bytes=7)
TAKEN = Attempt("delivered", status=200, duration_s=0.02, response_body="thanks")


@pytest.fixture
async def server() -> Server:
    made = Server()
    await made.registry.change(definitions(RULES))
    return made


async def put(server: Server, partition: int, *deliveries: Delivery, dead: tuple[DeadLetter, ...] = ()) -> None:
    fence = await server.store.fence(partition)
    token = fence.token
    if not token:
        token = (await server.store.claim(partition, owner="me", token="t", cluster="c", partitions=2)).token
    commit = Commit(token, f"{token}+", fence.offset + 1, 0, 0, deliveries=deliveries, dead_letters=dead)
    assert (await server.store.apply(partition, commit)).status == "ok"


def one(id_: str, visitor: str = "v", **more: Any) -> Delivery:
    return replace(owed(id_), visitor_id=visitor, **more)


def dead(id_: str, at: int = 9, **more: Any) -> DeadLetter:
    return DeadLetter(id=id_, kind="delivery", reason="refused", detail="", at=at, delivery=one(id_, **more))


async def listed(server: Server, **params: Any) -> dict[str, str]:
    rows = (await server.ask("GET", "deliveries", key="key-read", params=params)).json()["items"]
    return {row["id"]: row["state"] for row in rows}


async def one_of_each(server: Server) -> None:
    partition = partition_of(b"v", 2)
    await put(server, partition, one("first", is_sync=True), dead=(dead("dead"),))
    await put(server, partition, one("waits"))
    tried = with_attempt(one("tried", integration="other"), FAILED, began_at=1000, next_try_at=9000)
    await put(server, 1 - partition, one("tried", integration="other"), one("taken", webhook="tell-else"))
    await server.store.nack(1 - partition, [(tried, 9000)], now=1)
    taken = with_attempt(one("taken", webhook="tell-else"), TAKEN, began_at=2000)
    await server.store.ack(1 - partition, [taken], now=5)


async def test_deliveries_are_listed_by_state_and_by_what_they_belong_to(server: Server) -> None:
    await one_of_each(server)
    await put(server, partition_of(b"ada", 2), one("hers", "ada", action_map="first-visit"))
    everything = {"first": "owed", "waits": "waiting", "tried": "retrying", "taken": "delivered", "dead": "dead",
                  "hers": "owed"}  # fmt: skip
    assert await listed(server) == everything
    for state in set(everything.values()):
        assert await listed(server, state=state) == {id_: s for id_, s in everything.items() if s == state}
    assert await listed(server, integration="other") == {"tried": "retrying"}
    assert await listed(server, webhook="tell-else") == {"taken": "delivered"}
    assert await listed(server, actionMap="first-visit") == {"hers": "owed"}
    assert await listed(server, visitorId="ada") == {"hers": "owed"}
    assert await listed(server, visitorId="ada", state="dead") == {}
    assert len(await listed(server, limit=2)) == 2
    for wrong in ({"state": "pending"}, {"colour": "red"}, {"limit": 0}):
        assert (await server.ask("GET", "deliveries", params=wrong)).status_code == 422


async def test_a_waiting_delivery_is_found_behind_thousands_that_are_due(server: Server) -> None:
    partition = partition_of(b"v", 2)
    await put(server, partition, one("first", is_sync=True), *(one(f"d{n}", f"v{n}") for n in range(2500)))
    await put(server, partition, one("waits"))
    assert await listed(server, state="waiting") == {"waits": "waiting"}


async def test_one_delivery_is_shown_with_each_of_its_attempts(server: Server) -> None:
    await one_of_each(server)

    async def shown(id_: str) -> dict[str, Any]:
        return (await server.ask("GET", f"deliveries/{id_}", key="key-read")).json()

    tried = await shown("tried")
    assert (tried["state"], tried["attempts"], tried["error"]) == ("retrying", 1, "status 503 Service Unavailable")
    assert tried["nextTryAt"] == "1970-01-01T00:00:09.000Z"
    assert tried["log"] == [{
        "at": "1970-01-01T00:00:01.000Z", "outcome": "retry", "status": 503, "error": "status 503 Service Unavailable",
        "durationSeconds": 0.1234, "requestBytes": 7, "responseBytes": 7, "nextTryAt": "1970-01-01T00:00:09.000Z",
    }]  # fmt: skip
    taken = await shown("taken")
    assert (taken["state"], taken["attempts"], taken["request"]["body"]) == ("delivered", 1, None)
    assert "responseBody" not in taken["log"][0]
    assert (await shown("waits"))["nextTryAt"] is None
    answer = await server.ask("GET", "deliveries/none")
    assert (answer.status_code, "accepted ones that are kept" in answer.json()["detail"]) == (404, True)


async def test_bodies_are_shown_where_the_webhook_logs_them(server: Server) -> None:
    asked = one("a", logs_request=True, logs_response=True)
    await put(server, 0, asked)
    await server.store.ack(0, [with_attempt(asked, TAKEN, began_at=1)], now=5)
    shown = (await server.ask("GET", "deliveries/a")).json()
    assert (shown["log"][0]["requestBody"], shown["log"][0]["responseBody"]) == ('{"n":1}', "thanks")


# --- replayed in numbers


async def replay(server: Server, key: str = "key-publish", **body: Any) -> Any:
    answer = await server.ask("POST", "deliveries/replay", key=key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_dead_deliveries_of_one_integration_are_owed_again_spread_over_time_the_oldest_first(
    server: Server,
) -> None:
    mine = tuple(dead(f"d{n}", at=n, attempts=8, last_error="x") for n in range(6))
    await put(server, 1, dead=(*mine, *(dead(f"o{n}", at=n, integration="other") for n in range(3))))
    assert await replay(server, integration="shop", dryRun=True) == {"found": 6, "neverRendered": 0}
    assert len(await server.store.dead_deliveries(1, start=0, limit=99)) == 9

    before = time.time_ns() // 1_000_000
    step = await replay(server, integration="shop", perSecond=2)
    assert (step["replayed"], step["waits"]) == (6, False)
    rows = await server.store.owed(1, limit=99)
    assert [row.id for row in rows] == [f"d{n}" for n in range(6)]
    assert {(row.attempts, row.last_error) for row in rows} == {(0, None)}
    times = await server.store.due_times(1, [row.id for row in rows])
    assert [time_ and times[0] and time_ - times[0] for time_ in times] == [0, 500, 1000, 1500, 2000, 2500]
    assert times[0] is not None
    assert times[0] >= before
    # Its age counts from then, wherever it waits meanwhile.
    assert [row.owed_at for row in rows] == times
    assert step["dueFrom"] == times[0] + 3000

    done = await replay(server, integration="shop", perSecond=2, dueFrom=step["dueFrom"], after=step["after"])
    assert (done["replayed"], done["after"]) == (0, None)
    assert [one.id for one in await server.store.dead_deliveries(1, start=0, limit=9)] == ["o0", "o1", "o2"]


async def test_a_replay_leaves_room_for_new_events_and_goes_on_when_some_have_gone(server: Server) -> None:
    await put(server, 0, dead=tuple(dead(f"d{n:04}", at=n) for n in range(MOST_OWED + 300)))
    body: dict[str, Any] = {"perSecond": 1000}
    replayed, steps, waits = 0, 0, False
    while not waits:
        step = await replay(server, **body)
        body |= {"dueFrom": step["dueFrom"], "after": step["after"]}
        replayed, waits, steps = replayed + step["replayed"], step["waits"], steps + 1
        assert steps < 99
    assert replayed == MOST_OWED == await server.store.outbox_size(0)

    await server.store.ack(0, (await server.store.owed(0, limit=250)), now=1)
    assert (await replay(server, **body))["replayed"] == 250
    await server.store.ack(0, (await server.store.owed(0, limit=250)), now=1)
    step = await replay(server, **body)
    assert step["replayed"] == 50
    assert (await replay(server, **body | {"after": step["after"]}))["after"] is None


async def test_a_replay_of_one_visitor_passes_over_all_others(server: Server) -> None:
    others = tuple(dead(f"o{n}", at=n) for n in range(1200))
    await put(server, 0, dead=(*others, dead("hers", at=700, visitor="ada")))
    step = await replay(server, visitorId="ada")
    assert step["replayed"] == 1
    assert await listed(server, state="owed") == {"hers": "owed"}
    assert (await replay(server, visitorId="ada", after=step["after"]))["after"] is None


@asynccontextmanager
async def refusing(server: Server) -> AsyncIterator[Receiver]:
    """What is owed in partition 0 goes to a receiver that answers each request with 410."""
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    async with (
        Receiver(lambda _path, _body: web.Response(status=410)) as receiver,
        HttpSender(guard, environment_secrets({}), clock=wall_clock) as sender,
    ):
        shop = Integration.model_validate({"name": "shop", "baseUrl": receiver.url})
        worker = DeliveryWorker(outbox=server.store, find_integration={"shop": shop}.get, sender=sender,
                                clock=wall_clock, random=lambda: 0.0, metrics=Metrics())  # fmt: skip
        worker.own(0)
        running = asyncio.create_task(worker.run())
        try:
            yield receiver
        finally:
            await worker.stop(1.0)
            await running


async def test_a_replay_of_all_ends_although_the_receiver_refuses_them_again(server: Server) -> None:
    await put(server, 0, dead=tuple(dead(f"d{n:02}", at=n, body='{"visitor": "v"}') for n in range(30)))
    body: dict[str, Any] = {"perSecond": 100_000}

    async def all_are_dead_again() -> bool:
        return await server.store.outbox_size(0) == 0

    async with refusing(server) as receiver:
        for _ in range(9):
            step = await replay(server, **body)
            body |= {"dueFrom": step["dueFrom"], "after": step["after"]}
            if step["after"] is None:
                break
            await until(all_are_dead_again, "all are dead again before the replay goes on")
    assert (body["after"], len(receiver.got)) == (None, 30)
    assert len(await server.store.dead_deliveries(0, start=0, limit=99)) == 30


async def test_what_was_never_rendered_is_not_replayed_and_says_what_to_do(server: Server) -> None:
    unrendered = replace(dead("unrendered", target="", body=None), reason="unrenderable", was_rendered=False)
    too_large = replace(dead("too-large"), reason="body-too-large")
    await put(server, 0, dead=(unrendered, too_large))
    assert await replay(server, dryRun=True) == {"found": 1, "neverRendered": 1}
    ids = {"ids": ["unrendered"]}
    [row] = (await server.ask("POST", "dead-letters/replay", json=ids)).json()["items"]
    assert (row["replayed"], "mend the rules and send its event again" in row["detail"]) == (False, True)
    # What the integration takes no more has its request, and is sent again once it takes it.
    step = await replay(server)
    assert (step["replayed"], await listed(server)) == (1, {"too-large": "owed", "unrendered": "dead"})
    assert (await replay(server, after=step["after"]))["after"] is None


async def test_a_slow_replay_owes_nothing_later_than_in_30_days(server: Server) -> None:
    await put(server, 0, dead=tuple(dead(f"d{n}", at=n) for n in range(5)))
    before = wall_clock()
    latest = before + 30 * 86_400_000
    step = await replay(server, perSecond=0.01, dueFrom=latest - 250_000)
    assert (step["replayed"], step["waits"]) == (2, False)
    step = await replay(server, perSecond=0.01, dueFrom=step["dueFrom"], after=step["after"])
    step = await replay(server, perSecond=0.01, dueFrom=latest, after=step["after"])
    assert (step["replayed"], step["waits"]) == (0, True)


FAR = 10**15


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "the body is an object: integration, webhook"),
        ("all", "the body is an object"),
        ({"perSecond": 0}, "perSecond: Input should be greater than or equal to 0.01"),
        ({"perSecond": 1e-9}, "perSecond: Input should be greater than or equal to 0.01"),
        ({"perSecond": 1e308}, "perSecond: Input should be less than or equal to 100000"),
        ({"colour": "red"}, "colour: there is no such field"),
        ({"dueFrom": FAR}, "dueFrom: at most 30 days from now"),
        ({"dueFrom": "soon"}, "dueFrom: "),
        ({"after": {"partition": -1}}, "give what the answer before said"),
        ({"after": []}, "after: give what the answer before said"),
        ({"after": {"partition": 0, "passed": 10**30, "until": 0}}, "after.passed: give what the answer before said"),
        ({"integration": {"name": "shop"}}, "integration: "),
    ],
)
async def test_what_a_replay_does_not_understand_it_refuses_in_words(server: Server, body: Any, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await server.ask("POST", "deliveries/replay", content=json.dumps(body), headers=headers)
    told = answer.json()["detail"]
    assert answer.status_code == 400
    assert said in told
    assert "_Asked" not in told
    assert "_Place" not in told


async def test_only_who_may_publish_replays(server: Server) -> None:
    assert (await server.ask("POST", "deliveries/replay", key="key-edit", json={})).status_code == 403
    assert (await server.ask("POST", "deliveries/replay", key="key-edit", json={"dryRun": True})).status_code == 403


# --- lookups without a value


def looked_up(times: int, visitors: dict[str, int]) -> LookupCounts:
    """So many times each, for so many visitors."""
    counts = LookupCounts()
    for number in range(times):
        for name, different in visitors.items():
            counts.note(name, f"v{number % different}")
    return counts


async def test_the_go_live_check_tells_which_fields_had_no_value_and_for_how_many_visitors(server: Server) -> None:
    async def told() -> tuple[str, str]:
        checks = (await server.ask("GET", "action-maps/each-order/go-live", key="key-read")).json()["checks"]
        [found] = [check for check in checks if check["name"] == "lookups-resolved"]
        return found["status"], found["message"]

    now = time.time_ns() // 1_000_000
    not_yet = ("skip", "it has not matched with these lookups in the last seven days, so nobody knows yet")
    assert await told() == not_yet
    each_order, each_order_n, _, first_visit, first_visit_n, _ = counted_lookups(
        server.registry.definitions, ["each-order", "first-visit"]
    )
    await server.store.lookups.add(looked_up(1_200, {each_order: 40, first_visit: 4}), now=now)
    assert await told() == (
        "pass", "every field had a value for all 40 visitors (1,200 matches) of the last seven days",
    )  # fmt: skip
    await server.store.lookups.add(looked_up(34, {each_order: 2, each_order_n: 2, first_visit_n: 3}), now=now)
    status, message = await told()
    assert (status, "34" in message, "first-visit" in message) == ("warn", True, False)
    assert message == (
        "in the last seven days, n (event.attributes.n) had a value for 38 of 40 visitors (1,200 of 1,234 matches)"
    )
    everything = (await server.ask("GET", "go-live")).json()
    statuses = {one["actionMap"]: check["status"] for one in everything for check in one["checks"]
                if check["name"] == "lookups-resolved"}  # fmt: skip
    assert statuses == {"each-order": "warn", "first-visit": "warn"}
    patch = {"mappings": {"n": {"lookup": "visitor.traits.n"}}}
    assert (await server.ask("PATCH", "webhooks/tell-shop", json=patch)).status_code == 200
    assert (await told())[0] == "warn"
    assert (await server.ask("POST", "webhooks/tell-shop/publish")).status_code == 200
    assert await told() == not_yet
