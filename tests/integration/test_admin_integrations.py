"""Integrations are paused and resumed over REST, and people see how they are doing."""

import pytest
from test_admin import Server, server  # noqa: F401 - a fixture

from actionmap.cli.integrations import words
from actionmap.store.integrations import Hold, IntegrationHealth


async def test_who_may_publish_pauses_and_resumes_and_all_see_it(server: Server) -> None:  # noqa: F811
    assert (await server.ask("POST", "integrations/shop/pause", "key-edit", json={})).status_code == 403
    paused = await server.ask("POST", "integrations/shop/pause", json={"reason": "the CRM is moved"})
    assert paused.status_code == 200
    assert (await server.store.integrations.states())["shop"].hold is not None
    [row] = (await server.ask("GET", "integration-states", "key-read")).json()
    assert (row["name"], row["active"], row["held"], row["reason"]) == ("shop", True, "paused", "the CRM is moved")
    assert "its deliveries are held" in words(row)
    [row] = (await server.ask("GET", "status", "key-read")).json()["integrations"]
    assert row["held"] == "paused"

    assert (await server.ask("POST", "integrations/shop/resume", json={})).status_code == 200
    [row] = (await server.ask("GET", "integration-states")).json()
    assert row["held"] is None
    assert words(row) == "[bold]shop[/]: well"


async def test_an_unknown_integration_is_named_with_the_nearest(server: Server) -> None:  # noqa: F811
    for verb in ("pause", "resume"):
        answer = await server.ask("POST", f"integrations/shp/{verb}", json={})
        assert answer.status_code == 404
        assert "did you mean 'shop'" in answer.json()["detail"]


@pytest.mark.parametrize("body", [{"reason": 1}, {"reason": "x" * 201}, []])
async def test_a_reason_is_a_short_text(body: object, server: Server) -> None:  # noqa: F811
    answer = await server.ask("POST", "integrations/shop/pause", json=body)
    assert answer.status_code == 400
    assert await server.store.integrations.states() == {}


PAUSED = Hold("paused", 5, "the CRM is moved")
FAILING = IntegrationHealth(failing_since=1_700_000_000_000, last_error="status 503")


@pytest.mark.parametrize(
    ("hold", "health", "said"),
    [
        (PAUSED, None, "paused (the CRM is moved)"),
        (None, FAILING, "has failed since 2023-11-14"),
        (None, IntegrationHealth(warning="answered 410"), "answered 410"),
    ],
)
async def test_the_golive_check_warns_of_an_integration_that_is_not_well(
    hold: Hold | None,
    health: IntegrationHealth | None,
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
    assert (now["status"], said in now["message"], bool(now["fix"])) == ("warn", True, True)
