"""All active maps are checked again and again: a metric, an event when one stops being ready, and a first probe."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs
from test_admin import SEGMENT, Server

from actionmap.catalog.models import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.demo.receiver import Receiver
from actionmap.embedded import free_port
from actionmap.errors import Unreachable
from actionmap.golive import watch
from actionmap.golive.watch import Watch
from actionmap.process import wall_clock
from actionmap.store.durability import Guarantees
from actionmap.store.integrations import Hold, IntegrationHealth
from actionmap.telemetry import Metrics
from support import definitions, rules, until

LOOPBACK = [ip_network("127.0.0.0/8")]


class CountingProber:
    """Probes with the server's own sender, and counts."""

    def __init__(self, server: Server) -> None:
        self._sender = server.sender
        self.probed: list[str] = []
        self.origins: list[str] = []

    async def probe(self, integration: Integration, origin: str) -> str:
        self.probed.append(integration.name)
        self.origins.append(origin)
        return await self._sender.probe(integration, origin)


class Scene:
    """A server with two active maps, a receiver, and a watch that looks when it is told to."""

    def __init__(self, server: Server, receiver: Receiver) -> None:
        self.server, self.receiver = server, receiver
        self.prober = server.survey._prober = CountingProber(server)
        self.metrics = Metrics()
        self.watch = Watch(server.survey, self.metrics, 60.0)

    async def look(self) -> list[dict[str, Any]]:
        """What one look logs."""
        with capture_logs() as logs:
            await self.watch.look()
        return [{key: value for key, value in line.items() if key not in ("part", "means")} for line in logs]

    def number(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@asynccontextmanager
async def scene(*more: dict[str, Any]) -> AsyncIterator[Scene]:
    server = Server(egress=LOOPBACK)
    async with server.sender, Receiver() as receiver:
        await server.registry.change(definitions([*rules(receiver.url), *more]))
        yield Scene(server, receiver)


async def test_a_map_that_stops_being_ready_is_told_once_and_again_when_it_is_back() -> None:
    async with scene() as some:
        assert await some.look() == []
        assert some.number("actionmap_golive_ready") == 2
        await some.server.store.integrations.note("shop", IntegrationHealth(failing_since=wall_clock()))
        assert await some.look() == []
        await some.server.store.integrations.hold("shop", Hold("disabled", 7, "failed for days"))
        lost = await some.look()
        assert lost == [{"event": "golive.lost", "log_level": "warning", "action_map": name,
                         "failing": ["integration-well"]} for name in ("each-order", "first-visit")]  # fmt: skip
        assert (some.number("actionmap_golive_ready"), some.number("actionmap_golive_lost_total")) == (0, 2)
        assert some.number("actionmap_golive_not_ready", action_map="each-order") == 1
        assert await some.look() == []
        await some.server.store.integrations.release("shop")
        assert [line["event"] for line in await some.look()] == ["golive.regained"] * 2
        assert some.number("actionmap_golive_not_ready", action_map="each-order") is None
        assert (some.number("actionmap_golive_ready"), some.number("actionmap_golive_lost_total")) == (2, 2)


async def test_a_segment_that_is_deactivated_and_workers_that_are_gone_are_told() -> None:
    asks = {**rules()[3], "name": "asks", "trigger": {"all": [{"event": "order"}, {"segment": "regular"}]}}
    async with scene(SEGMENT, asks) as some:
        await some.look()
        await some.server.registry.change(definitions([{**SEGMENT, "active": False}]))
        [lost] = await some.look()
        assert (lost["action_map"], lost["failing"]) == ("asks", ["segments-active"])
        some.server.members = 0
        told = {line["action_map"]: line["failing"] for line in await some.look()}
        assert told == {"each-order": ["consumer-alive"], "first-visit": ["consumer-alive"]}


async def test_a_map_that_is_deactivated_or_new_has_lost_nothing() -> None:
    async with scene() as some:
        await some.look()
        one, other = some.server.registry.definitions["ActionMap/each-order"], {**rules()[3], "name": "ends"}
        ended = {**other, "endDate": "2020-01-01T00:00:00Z"}
        await some.server.registry.change({**definitions([ended]), one.key: one.model_copy(update={"active": False})})
        assert await some.look() == []
        assert some.number("actionmap_golive_not_ready", action_map="ends") == 1


async def test_a_newer_draft_is_told_with_the_maps_that_it_is_for() -> None:
    async with scene() as some:
        await some.look()
        answer = await some.server.ask("PATCH", "webhooks/tell-shop", json={"description": "other"})
        assert answer.status_code == 200, answer.text
        [line] = await some.look()
        assert (line["event"], line["action_maps"]) == ("golive.newer_draft", ["each-order", "first-visit"])
        assert await some.look() == []
        # A set that takes over leaves the draft, which is not the newest any more.
        await some.server.registry.change(definitions([{**rules(some.receiver.url)[2], "description": "newest"}]))
        assert some.server.registry.entries["Webhook/tell-shop"].draft is not None
        checks = (await some.server.ask("GET", "action-maps/each-order/go-live")).json()["checks"]
        assert [check["status"] for check in checks if check["name"] == "no-newer-draft"] == ["pass"]


async def test_what_nothing_has_reached_is_probed_once_and_again_only_when_it_is_changed() -> None:
    async with scene() as some:
        await some.look()
        await some.look()
        assert some.prober.probed == ["shop"]
        [row] = (await some.server.ask("GET", "integration-states")).json()
        assert row["reportedState"]["state"] == "active"
        changed = definitions([{**rules(some.receiver.url)[0], "description": "other"}])
        await some.server.registry.change(changed)
        await some.look()
        assert (some.prober.probed, some.receiver.requests) == (["shop", "shop"], [])


async def test_what_could_not_be_reached_is_probed_again_after_ten_minutes() -> None:
    async with scene() as some:
        await some.look()
        now = [some.server.survey._clock()]
        some.server.survey._clock = lambda: now[0]
        moved = definitions([{**rules(f"http://127.0.0.1:{free_port()}")[0]}])
        await some.server.registry.change(moved)
        assert [line["failing"] for line in await some.look()] == [["integration-well"]] * 2
        await some.look()
        assert len(some.prober.probed) == 2
        now[0] += 600_000
        await some.look()
        assert len(some.prober.probed) == 3


def tenant(name: str, origin: str, state: str, action: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """An active map of the tenant ``name``, whose webhook, which is ``state``, says where on ``origin`` it leads."""
    action = action or {**rules()[1], "name": "tell-tenant", "integration": "tenants"}
    where = {"name": "tenants", "kind": "Integration", "baseUrl": origin.replace("//", "//{{ visitor }}.")}
    webhook = {**rules()[2], "name": name, "dataAction": action["name"], "state": state,
               "mappings": {"n": {"value": 1}, "visitor": {"value": name}}}  # fmt: skip
    return [where, action, webhook, {**rules()[3], "name": name, "action": {"webhook": name}}]


async def loopback(_: str) -> list[str]:
    return ["127.0.0.1"]


async def test_drafts_decide_neither_where_the_server_connects_by_itself_nor_how_others_are_doing() -> None:
    async with scene() as some, HttpSender(EgressGuard((), LOOPBACK), environment_secrets({}), clock=wall_clock,
                                           lookup=loopback) as sender:  # fmt: skip
        some.prober._sender = sender
        origin = some.receiver.url.replace("127.0.0.1", "example.org")
        drafted = {**rules()[1], "name": "drafted", "integration": "tenants", "state": "draft"}
        drafts = [*tenant("draft", origin, "draft"), *tenant("old", origin, "archived"),
                  *tenant("unfinished", origin, "published", drafted)]  # fmt: skip
        await some.server.registry.change(definitions({f"{one['kind']}/{one['name']}": one for one in drafts}.values()))
        await some.look()
        assert some.prober.origins == [some.receiver.url]

        tried = (await some.server.ask("POST", "integrations/tenants/test")).json()["reportedState"]
        assert "its host depends on the webhook, and none of its webhooks is published" in tried["detail"]
        shown = (await some.server.ask("GET", "action-maps/draft/go-live", params={"probe": "true"})).json()["checks"]
        [check] = [check for check in shown if check["name"] == "endpoint-reachable"]
        assert (check["status"], "the webhook draft is draft" in check["message"]) == ("skip", True)
        assert some.prober.origins == [some.receiver.url]

        await some.server.registry.change(definitions(tenant("live", origin, "published")))
        await some.look()
        assert some.prober.origins == [some.receiver.url, origin.replace("//", "//live.")]
        assert some.watch._last is not None
        assert {
            name: failing for name, failing in some.watch._last.failing.items() if name in ("live", "each-order")
        } == {}
        assert some.number("actionmap_golive_ready") == 3


async def test_no_more_than_a_hundred_maps_are_told_by_name() -> None:
    maps = [{**rules()[3], "name": f"m{number:03}"} for number in range(120)]
    async with scene(*maps) as some:
        await some.look()
        some.server.members = 0
        lines = await some.look()
        assert (len(lines), lines[-1]["more"]) == (101, 22)
        assert some.number("actionmap_golive_lost_total") == 122
        [labelled] = [one for one in some.metrics.registry.collect() if one.name == "actionmap_golive_not_ready"]
        assert len(labelled.samples) == 100


async def test_it_looks_when_definitions_change_and_a_store_that_is_away_only_costs_a_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_REST_S", 0.01)
    monkeypatch.setattr(watch, "_SEEN_EVERY_S", 0.01)
    async with scene() as some:
        store, away = some.server.store, asyncio.Event()
        answer = store.guarantees

        async def guarantees() -> Guarantees:
            if not away.is_set():
                away.set()
                raise Unreachable("Redis is away")
            return await answer()

        monkeypatch.setattr(store, "guarantees", guarantees)
        running = asyncio.create_task(some.watch.run())
        await away.wait()
        monkeypatch.setattr(some.watch, "_every_s", 3600.0)
        await some.server.registry.change(definitions([{**rules()[3], "name": "third"}]))
        await until(lambda: _is(some.number("actionmap_golive_ready"), 3), "the third map is counted")
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _is(value: float | None, expected: float) -> bool:
    return value == expected
