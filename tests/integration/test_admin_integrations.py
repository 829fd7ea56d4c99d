"""Integrations are paused and resumed over REST, and people see how they are doing."""

from ipaddress import ip_network

import pytest
from test_admin import Server, server  # noqa: F401 - a fixture

from actionmap.cli.integrations import words
from actionmap.demo.receiver import Receiver
from actionmap.embedded import free_port
from actionmap.store.integrations import Hold, IntegrationHealth
from support import definitions, rules


async def test_who_may_publish_pauses_and_resumes_and_all_see_it(server: Server) -> None:  # noqa: F811
    assert (await server.ask("POST", "integrations/shop/pause", "key-edit", json={})).status_code == 403
    paused = await server.ask("POST", "integrations/shop/pause", json={"reason": "the CRM is moved"})
    assert paused.status_code == 200
    assert (await server.store.integrations.states())["shop"].hold is not None
    [row] = (await server.ask("GET", "integration-states", "key-read")).json()
    assert (row["name"], row["active"], row["held"], row["reason"]) == ("shop", True, "paused", "the CRM is moved")
    said = f"inactive[/] since {row['heldSince']} (paused: the CRM is moved); its deliveries are held"
    assert words(row) == f"[bold]shop[/]: [default]{said}"
    [row] = (await server.ask("GET", "status", "key-read")).json()["integrations"]
    assert row["held"] == "paused"

    assert (await server.ask("POST", "integrations/shop/resume", json={})).status_code == 200
    [row] = (await server.ask("GET", "integration-states")).json()
    assert row["held"] is None
    assert words(row).startswith("[bold]shop[/]: [default]activating[/] (nothing has been sent yet")


async def test_an_unknown_integration_is_named_with_the_nearest(server: Server) -> None:  # noqa: F811
    for verb in ("pause", "resume"):
        answer = await server.ask("POST", f"integrations/shp/{verb}", json={})
        assert answer.status_code == 404
        assert "did you mean 'shop'" in answer.json()["detail"]


@pytest.mark.parametrize("body", [{"reason": 1}, {"reason": "x" * 201}, []])
async def test_a_reason_is_a_short_text(body: object, server: Server) -> None:  # noqa: F811
    answer = await server.ask("POST", "integrations/shop/pause", json=body)
    assert answer.status_code == 422
    assert await server.store.integrations.states() == {}


PAUSED = Hold("paused", 5, "the CRM is moved")
FAILING = IntegrationHealth(failing_since=1_700_000_000_000, last_error="status 503")


@pytest.mark.parametrize(
    ("hold", "health", "status", "said"),
    [
        (PAUSED, None, "warn", "paused (the CRM is moved)"),
        (None, FAILING, "fail", "has failed since 2023-11-14"),
        (None, IntegrationHealth(warning="answered 410"), "warn", "answered 410"),
    ],
)
async def test_the_golive_check_tells_of_an_integration_that_is_not_well(
    hold: Hold | None,
    health: IntegrationHealth | None,
    status: str,
    said: str,
    server: Server,  # noqa: F811
) -> None:
    async def check() -> dict[str, str]:
        found = (await server.ask("GET", "action-maps/each-order/go-live")).json()
        return next(one for one in found["checks"] if one["name"] == "integration-well")

    assert (await check())["status"] == "pass"
    if hold is not None:
        await server.store.integrations.hold("shop", hold)
    if health is not None:
        await server.store.integrations.note("shop", health)
    now = await check()
    assert (now["status"], said in now["message"], bool(now["fix"])) == (status, True, True)


async def test_all_that_was_noted_of_an_integration_is_told_behind_its_state(server: Server) -> None:  # noqa: F811
    await server.store.integrations.note("shop", FAILING)
    await server.store.integrations.hold("shop", Hold("disabled", 5, "too many failures"))
    [row] = (await server.ask("GET", "integration-states")).json()
    behind = "its deliveries are held; failing since 2023-11-14T22:13:20.000Z (status 503)"
    since = "1970-01-01T00:00:00.005Z"
    assert words(row) == f"[bold]shop[/]: [red]error[/] since {since} (disabled: too many failures); {behind}"
    await server.ask("POST", "integrations/shop/deactivate")
    [row] = (await server.ask("GET", "integration-states")).json()
    held = f"its deliveries are held; disabled since {since} (too many failures)"
    assert words(row).startswith(f"[bold]shop[/]: [default]inactive[/] (active: false); {held}; failing since ")


async def test_whether_an_integration_can_be_reached_is_tried_with_the_right_to_publish_and_shown_to_all() -> None:
    own = Server(egress=[ip_network("127.0.0.0/8")])
    async with own.sender, Receiver() as receiver:
        await own.registry.change(definitions(rules(receiver.url)))
        [row] = (await own.ask("GET", "integration-states", "key-read")).json()
        assert (row["intendedState"], row["reportedState"]["state"]) == ("active", "activating")
        assert (await own.ask("POST", "integrations/shop/test", "key-edit")).status_code == 403
        assert (await own.ask("POST", "integrations/shp/test")).status_code == 404
        reached = (await own.ask("POST", "integrations/shop/test", "key-publish")).json()
        [row] = (await own.ask("GET", "integration-states", "key-read")).json()
        [shown] = (await own.ask("GET", "status", "key-read")).json()["integrations"]
    assert reached["reportedState"]["state"] == "active"
    assert row["reportedState"] == shown["reportedState"] == reached["reportedState"]
    assert row["probedAt"] == row["reportedState"]["since"]
    assert receiver.requests == []
    told = "reached by a probe; nothing has been sent yet"
    assert words(row) == f"[bold]shop[/]: [default]active[/] since {row['probedAt']} ({told})"

    async with own.sender:
        await own.registry.change(definitions([{**rules(f"http://127.0.0.1:{free_port()}")[0]}]))
        gone = (await own.ask("POST", "integrations/shop/test")).json()
    assert gone["reportedState"]["state"] == "error"
    assert "Connection refused" in gone["reportedState"]["detail"]
    assert "Connection refused" in words(gone)


async def test_an_integration_whose_host_depends_on_the_webhook_is_tried_at_each_of_them() -> None:
    own = Server(egress=[ip_network("127.0.0.0/8")])
    documents = rules("https://{{ visitor }}.example.com")
    documents[2]["mappings"]["visitor"] = {"value": "acme"}
    async with own.sender:
        await own.registry.change(definitions(documents[:2]))
        found = (await own.ask("POST", "integrations/shop/test")).json()
        assert (
            "its host depends on the webhook, and none of its webhooks is published" in found["reportedState"]["detail"]
        )


async def test_a_go_live_check_connects_to_receivers_only_when_asked_and_with_the_right_to_publish() -> None:
    own = Server(egress=[ip_network("127.0.0.0/8")])
    async with own.sender, Receiver() as receiver:
        await own.registry.change(definitions(rules(receiver.url)))

        async def status(path: str) -> str:
            found = (await own.ask("GET", path)).json()
            checks = (found if isinstance(found, dict) else found[0])["checks"]
            return next(check["status"] for check in checks if check["name"] == "endpoint-reachable")

        for path in ("action-maps/each-order/go-live", "go-live"):
            assert await status(path) == "skip"
            assert await own.store.integrations.states() == {}
        for path in ("action-maps/each-order/go-live", "go-live"):
            assert (await own.ask("GET", f"{path}?probe=true", "key-read")).status_code == 403
            assert await status(f"{path}?probe=true") == "pass"
        assert (await own.ask("GET", "action-maps/each-ordr/go-live")).status_code == 404
    [state] = (await own.store.integrations.states()).values()
    assert (state.probed is not None and state.probed.problem) == ""


async def test_a_key_of_a_company_sees_its_own_maps_and_integrations_alone() -> None:
    own = Server()
    theirs = [{**some, "company": "acme", "name": f"acme-{some['name']}"} for some in rules()[:4]]
    theirs[1]["integration"], theirs[2]["dataAction"] = "acme-shop", "acme-tell"
    theirs[3]["action"] = {"webhook": "acme-tell-shop"}
    await own.registry.change(definitions([*rules(), *theirs]))
    [row] = (await own.ask("GET", "integration-states", "key-acme")).json()
    assert row["name"] == "acme-shop"
    assert [one["actionMap"] for one in (await own.ask("GET", "go-live", "key-acme")).json()] == ["acme-each-order"]
    assert (await own.ask("GET", "action-maps/acme-each-order/go-live", "key-acme")).status_code == 200
    for method, path in (("GET", "action-maps/each-order/go-live"), ("POST", "integrations/shop/test"),
                         ("POST", "integrations/shop/resume")):  # fmt: skip
        assert (await own.ask(method, path, "key-acme", json={})).status_code == 404
