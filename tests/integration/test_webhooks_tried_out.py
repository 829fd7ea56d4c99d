"""A webhook is tried out: rendered in any state, sent once when asked, and nothing of it stays anywhere."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from test_admin import BASIC, SECRET, Server, remember
from typer.testing import CliRunner

from actionmap.cli.app import app as commands
from actionmap.delivery import MOST_OF_BODY
from actionmap.demo.receiver import Receiver
from actionmap.trial import BLOCKED
from support import definitions, rules

LOOPBACK = [ip_network("127.0.0.0/8")]
FIELDS = {
    "email": {"type": "string", "format": "email"}, "plan": {"type": "string", "examples": ["gold"]},
    "score": {"type": "integer", "minimum": 5}, "rate": {"type": "number"}, "known": {"type": "boolean"},
    "campaign": {"type": "string"}, "source": {"type": "string", "enum": ["web", "app"]}, "kind": {"type": "string"},
    "id": {"type": "string"},
}  # fmt: skip
MAPPINGS = {
    "email": {"lookup": "visitor.traits.email", "onMissing": "skip"}, "plan": {"lookup": "visitor.traits.plan"},
    "score": {"lookup": "event.attributes.score", "onMissing": "omit"}, "rate": {"lookup": "event.attributes.rate"},
    "known": {"lookup": "session.authenticated"}, "campaign": {"lookup": "session.mktCampaign.name", "default": "none"},
    "source": {"lookup": "event.attributes.source"}, "kind": {"value": "lead"}, "id": {"lookup": "delivery.id"},
}  # fmt: skip


def written(url: str = "https://shop.example.com", **changes: Any) -> list[dict[str, Any]]:
    integration, action, webhook, *_ = rules(url, auth=BASIC)
    contract = {"input": {"type": "object", "properties": FIELDS}}
    response = {"variables": {"leadId": "$.lead.id"}, "traits": {"tier": "$.tier"}, "onFailure": {"leadId": "none"}}
    request = {"method": "PUT", "path": "/leads/{{ plan }}", "params": {"s": "{{ source }}"}}
    return [
        {**integration, **changes},
        {**action, "state": "draft", "contract": contract, "request": request, "response": response},
        {**webhook, "state": "draft", "mappings": MAPPINGS},
    ]


@asynccontextmanager
async def serving(documents: list[dict[str, Any]], egress: Any = LOOPBACK):
    server = Server(egress=egress)
    await server.registry.change(definitions(documents))
    async with server.sender:
        yield server


async def tried(server: Server, key: str = "key-publish", **body: Any) -> Any:
    answer = await server.ask("POST", "webhooks/tell-shop/test", key=key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def receiver(status: int = 200, **answer: Any):
    got: list[tuple[str, str, dict[str, str], Any]] = []

    async def receive(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got.append((request.method, request.path_qs, headers, await request.json()))
        return web.json_response({**answer, "echo": dict(request.headers)}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://127.0.0.1:{1}".format(*runner.addresses[0][:2]), got
    await runner.cleanup()


async def test_a_draft_is_rendered_with_samples_as_contract_and_mappings_say() -> None:
    async with serving(written()) as server:
        found = await tried(server, key="key-read")
    assert (found["webhook"], found["state"], found["problem"]) == ("tell-shop", "draft", "")
    body = json.loads(found["request"]["body"])
    assert body.pop("id").startswith("am1_test")
    assert body == {"email": "visitor@example.com", "plan": "gold", "score": 5, "rate": 1.5, "known": True,
                    "campaign": "none", "source": "web", "kind": "lead"}  # fmt: skip
    assert (found["request"]["method"], found["request"]["url"]) == ("PUT", "https://shop.example.com/leads/gold?s=web")
    assert found["request"]["headers"]["Authorization"] == "Basic ***"
    assert {one["field"]: one["origin"] for one in found["values"]} == dict.fromkeys(FIELDS, "sample") | {
        "kind": "static"
    }
    assert (found["response"], found["variables"]) == (None, {})


async def test_it_is_rendered_with_what_is_known_of_a_visitor_and_says_which_fields_have_no_value() -> None:
    async with serving(written()) as server:
        await remember(server, "ada", "visit")
        found = await tried(server, key="key-read", visitorId="ada")
        assert found["request"] is None
        assert found["problem"].startswith("nothing would be sent (onMissing: skip): email: visitor.traits.email")
        event = {"eventName": "order", "visitorId": "ada", "traits": {"email": "ada@b.example", "plan": "pro"},
                 "attributes": {"score": "7.5"}}  # fmt: skip
        found = await tried(server, key="key-read", events=[event])
        assert (await server.ask("POST", "webhooks/tell-shop/test", json={"visitorId": "eve"})).status_code == 404
    values = {one["field"]: one for one in found["values"]}
    body = json.loads(found["request"]["body"])
    assert (values["email"]["origin"], body["email"]) == ("looked-up", "ada@b.example")
    assert found["request"]["url"] == "https://shop.example.com/leads/pro"
    assert (values["score"]["missing"], values["score"]["onMissing"], "score" in body) == (
        "cannot become a integer without loss", "omit", False,
    )  # fmt: skip
    assert (values["rate"]["missing"], body["rate"]) == ("is missing", None)
    assert (values["campaign"]["origin"], values["campaign"]["onMissing"], body["campaign"]) == (
        "missing", "default", "none",
    )  # fmt: skip


async def test_it_is_sent_once_through_the_same_sender_and_the_answer_is_shown_with_what_it_would_set() -> None:
    async with receiver(201, lead={"id": "l-1"}, tier=f"gold {SECRET}") as (url, got), serving(written(url)) as server:
        before = repr(vars(server.store))
        found = await tried(server, send=True)
        again = await tried(server, send=True)
        assert repr(vars(server.store)) == before
    (method, path, headers, body), _ = got
    assert (method, path, body["plan"]) == ("PUT", "/leads/gold?s=web", "gold")
    assert headers["authorization"].startswith("Basic ")
    assert headers["idempotency-key"] == headers["webhook-id"] == body["id"]
    assert found["request"]["headers"]["webhook-id"] == body["id"] != again["request"]["headers"]["webhook-id"]
    response = found["response"]
    assert (response["outcome"], response["status"], response["error"]) == ("delivered", 201, None)
    assert response["headers"]["Content-Type"].startswith("application/json")
    assert response["durationSeconds"] > 0
    assert found["variables"] == {"leadId": "l-1"}
    assert found["traits"]["tier"].startswith("gold *")
    assert "Basic ***" in response["body"]
    for secret in (SECRET, headers["authorization"].split()[1]):
        assert secret not in json.dumps(found)


async def test_a_refusal_is_shown_with_what_would_be_set_when_it_is_given_up() -> None:
    async with receiver(422, error="x" * 9000) as (url, got), serving(written(url)) as server:
        found = await tried(server, send=True)
    assert (found["response"]["status"], found["response"]["outcome"]) == (422, "retry")
    assert len(got) == 1
    assert len(found["response"]["body"]) == MOST_OF_BODY < found["response"]["bytes"]
    assert (found["variables"], found["onFailure"]) == ({}, {"leadId": "none"})


async def test_signed_requests_verify_and_the_signature_is_not_shown() -> None:
    signing = {"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_SHOP}"}
    async with (
        Receiver({"/": ("standardWebhooks", SECRET)}) as other,
        serving(written(other.url, signing=signing)) as server,
    ):
        found = await tried(server, send=True)
    assert found["response"]["status"] == 200
    assert found["request"]["headers"]["webhook-signature"] == "***"


async def test_an_open_and_a_closed_port_of_a_blocked_address_cannot_be_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        opened = listener.getsockname()[1]
        answers = []
        for url in (f"https://127.0.0.1:{opened}", "https://127.0.0.1:1", "https://localhost:1", "https://10.0.0.1"):
            token = {"type": "oauth2ClientCredentials", "tokenUrl": f"{url}/token", "clientId": "c",
                     "clientSecret": "${ACTIONMAP_SECRET_SHOP}"}  # fmt: skip
            for more in ({"baseUrl": url}, {"baseUrl": "https://shop.example.com", "auth": token}):
                async with serving(written(**more), egress=()) as server:
                    answers.append((await tried(server, send=True))["response"])
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert answers == [answers[0]] * 8
    assert (answers[0]["error"], answers[0]["durationSeconds"], answers[0]["outcome"]) == (BLOCKED, None, "dead")


async def test_to_render_takes_the_right_to_read_and_to_send_the_right_to_publish() -> None:
    async with serving(written()) as server:
        asked = [(None, {}, 401), ("key-ingest", {}, 403), ("key-read", {}, 200), ("key-edit", {"send": True}, 403)]
        for key, body, status in asked:
            answer = await server.ask("POST", "webhooks/tell-shop/test", key=key, json=body)
            assert answer.status_code == status
        assert (await server.ask("POST", "webhooks/tell-shp/test", json={})).status_code == 404
        for body in ([], {"sent": True}, {"send": "yes"}, {"visitorId": 7}, {"visitorId": "a", "events": []}):
            assert (await server.ask("POST", "webhooks/tell-shop/test", json=body)).status_code == 422


async def test_a_data_action_is_tried_out_with_values_and_wrong_ones_are_named() -> None:
    async with serving(rules()) as server:
        values = {"n": 1, "visitor": "ann"}
        found = await server.ask("POST", "data-actions/tell/test", json={"input": values})
        assert (found.status_code, json.loads(found.json()["request"]["body"])) == (200, values)
        for wrong, path in (({"visitor": 1}, "body.input.visitor"), ({"more": 1}, "body.input.more")):
            refused = await server.ask("POST", "data-actions/tell/test", json={"input": {**values, **wrong}})
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, path)


async def test_what_cannot_be_built_says_why() -> None:
    event = {"eventName": "order", "visitorId": "ada", "traits": {"email": "ada@b.example", "plan": ".."}}
    async with serving(written()) as server:
        found = await tried(server, events=[event], send=True)
    assert found["request"] is None
    assert found["response"] is None
    assert found["problem"].startswith("unrenderable: ")


# --- by files


def by_files(folder: Path, documents: list[dict[str, Any]], *args: str, **env: str) -> tuple[int, str]:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "all.yaml").write_text(yaml.safe_dump_all(documents))
    done = CliRunner().invoke(
        commands, ["webhooks", "test", "tell-shop", "--rules", str(folder / "rules"), *args], env=env
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


async def test_files_are_tried_out_without_a_server_with_secrets_from_the_environment(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text('{"eventName": "order", "visitorId": "v", "traits": {"email": "a@b.example", "plan": "pro"}}\n')
    async with receiver(lead={"id": "l-2"}) as (url, got):
        code, said = await asyncio.to_thread(
            by_files, tmp_path, written(url), "--send", "--event", str(events), "--format", "json",
            ACTIONMAP_EGRESS_ALLOW="127.0.0.0/8", ACTIONMAP_SECRET_SHOP=SECRET,
        )  # fmt: skip
    found = json.loads(said)
    assert (code, found["response"]["status"], found["variables"]) == (0, 200, {"leadId": "l-2"})
    assert SECRET not in said
    (_, path, _, body) = got[0]
    assert (path, body["email"], "score" in body) == ("/leads/pro", "a@b.example", False)


def test_files_are_rendered_for_people_and_what_is_kept_back_ends_with_1(tmp_path: Path) -> None:
    code, said = by_files(tmp_path, written())
    assert code == 0
    for text in (
        "tell-shop (draft) to shop", "PUT https://shop.example.com/leads/gold?s=web", "Authorization: Basic ***",
        "visitor@example.com", "sample (visitor.traits.email)",
    ):  # fmt: skip
        assert text in said
    (tmp_path / "event.json").write_text('{"eventName": "order", "visitorId": "v"}')
    code, said = by_files(tmp_path, written(), "--event", str(tmp_path / "event.json"))
    assert (code, "is missing; onMissing: skip" in said) == (1, True)
