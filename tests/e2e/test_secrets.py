"""Secrets written out in definitions, through a running system: applied, kept, shown, sent, and found nowhere."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from actionmap.demo.receiver import Receiver
from actionmap.vault import new_key
from commands import Run, command_line
from processes import PATIENCE_S, post, running
from secret_places import TellTale, found, secret
from support import rules, until

KEY = new_key()
#: Set in the environment of the system.
ENVIRONMENT = {"ACTIONMAP_SECRET_SHOP": secret(), "ACTIONMAP_SECRET_SIGN": secret("whsec_!{}")}


@pytest.fixture(scope="module")
def actionmap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with command_line(tmp_path_factory.mktemp("streams")) as run:
        yield run


@pytest.fixture
async def telltale() -> AsyncIterator[TellTale]:
    async with TellTale() as receiver:
        yield receiver


def oauth(url: str) -> dict[str, Any]:
    return {"type": "oauth2ClientCredentials", "tokenUrl": url, "clientId": "me", "clientSecret": secret()}


def failing(url: str) -> list[dict[str, Any]]:
    """Definitions whose every delivery fails, each for a reason that has to do with a secret."""
    stored: dict[str, Any] = {"type": "bearer", "token": secret()}
    kinds: list[dict[str, Any]] = [
        {"auth": {"type": "basic", "username": "me", "password": secret()}},
        {"auth": {"type": "apiKey", "header": "X-Key", "value": secret()}},
        {"auth": {"type": "bearer", "token": "${ACTIONMAP_SECRET_SHOP}"}, "baseUrl": f"{url}/status/307"},
        {"auth": oauth(f"{url}/give")},
        {"auth": oauth(f"{url}/token")},
        {"auth": stored, "signing": {"scheme": "standardWebhooks", "secrets": [secret(), "${ACTIONMAP_SECRET_SIGN}"]}},
        {"auth": stored, "baseUrl": "http://127.0.0.1:1"},
    ]
    written: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds):
        name = f"n{number}"
        _, action, webhook, each_order, _ = rules()
        written += [
            {"kind": "Integration", "name": name, "baseUrl": url, **kind},
            {**action, "name": name, "integration": name},
            {**webhook, "name": name, "dataAction": name, "delivery": {"retry": {"attempts": 1}}},
            {**each_order, "name": name, "action": {"webhook": name}},
        ]
    return written


def write(folder: Path, written: list[dict[str, Any]]) -> None:
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump_all(written))


async def over_rest(url: str, *, dead: int) -> list[str]:
    """Every answer of REST in which a secret might stand, once there are so many dead letters."""
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_S) as client:

        async def are_dead() -> bool:
            return len((await client.get("/dead-letters")).json()["items"]) >= dead

        await until(are_dead, f"{dead} dead letters")
        letters = [one["id"] for one in (await client.get("/dead-letters")).json()["items"]]
        paths = ["definitions", "integrations", "integrations/n0", "deliveries", "status", "go-live", "dead-letters"]
        answers = [await client.get(f"/{path}") for path in (*paths, *(f"dead-letters/{one}" for one in letters))]
        answers += [await client.post(f"/integrations/n0/{verb}") for verb in ("deactivate", "activate")]
        answers.append(await client.get(f"{url}/metrics"))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.text for answer in answers]


async def test_what_is_written_out_is_sent_and_otherwise_seen_nowhere(
    actionmap: Run, telltale: TellTale, tmp_path: Path
) -> None:
    written = failing(telltale.url)
    write(tmp_path / "mine", written)
    write(tmp_path / "wrong", [{**written[0], "auth": {**written[0]["auth"], "password": f"{secret()}\n"}}])
    seen: list[str | bytes] = []
    env = {"ACTIONMAP_EGRESS_ALLOW": "127.0.0.1/32", "ACTIONMAP_LOG_LEVEL": "debug", "ACTIONMAP_SECRETS_KEY": KEY}
    ports = ("--port", "0", "--kafka-port", "0", "--data", "data")
    async with running("dev", *ports, cwd=tmp_path, env={**env, **ENVIRONMENT}) as process:
        await process.says("ready: ")
        url = (await process.says("collector   ")).removesuffix("/v1/events")

        async def ask(*args: str, code: int = 0) -> str:
            done = await asyncio.to_thread(actionmap, *args, cwd=tmp_path, env={"ACTIONMAP_API_URL": url, **env})
            assert done.returncode == code, done.stdout + done.stderr
            seen.extend((done.stdout, done.stderr))
            return done.stdout + done.stderr

        await ask("lint", "mine")
        for command in ("lint", "plan", "apply"):
            assert "no line end" in await ask(command, "wrong", code=1 if command == "lint" else 2)
        assert "********" in await ask("plan", "mine", code=1)
        await ask("apply", "mine")
        for folder in ("mine", "out"):
            assert "28 unchanged" in await ask("plan", folder)
            assert "28 unchanged" in await ask("apply", folder)
            await ask("export", "out")
        (tmp_path / "elsewhere").mkdir()
        masks = (tmp_path / "out" / "integrations.yaml").read_text().replace("name: n", "name: x")
        (tmp_path / "elsewhere" / "x.yaml").write_text(masks)
        assert "the mask keeps a stored secret, and there is none here" in await ask("apply", "elsewhere", code=2)

        await post(url, {"eventName": "order", "visitorId": "ada"})
        seen += await over_rest(url, dead=7)
        assert "28 unchanged" in await ask("plan", "mine"), "the verbs kept the secret"
        await ask("dead-letters", "list")
        assert telltale.requests >= 5
        assert await process.stop(signal.SIGINT) == 0
        seen.append(process.output())
    stored = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert any(b"encrypted:v1:" in path.read_bytes() for path in stored)
    seen += [path.read_bytes() for path in (*stored, *(tmp_path / "out").iterdir())]
    assert found(seen) == []
    assert not any(KEY in (one if isinstance(one, str) else one.decode(errors="replace")) for one in seen)


async def test_a_key_is_changed_without_losing_a_secret(actionmap: Run, tmp_path: Path) -> None:
    older, newer = KEY, (await asyncio.to_thread(actionmap, "secrets", "key", cwd=tmp_path)).stdout.strip()
    ports = ("--port", "0", "--kafka-port", "0", "--data", "data")
    written = rules(auth={"type": "bearer", "token": "written-out"})
    async with Receiver() as receiver:
        write(tmp_path / "mine", [{**written[0], "baseUrl": receiver.url}, *written[1:]])
        for keys, command, said in (
            (older, ("apply", "mine"), "5 create"),
            (f"{newer},{older}", ("secrets", "rotate"), "1 integrations encrypted anew; the server is at revision 2"),
            (newer, ("plan", "mine"), "5 unchanged"),
        ):
            env = {"ACTIONMAP_EGRESS_ALLOW": "127.0.0.1/32", "ACTIONMAP_SECRETS_KEY": keys}
            async with running("dev", *ports, cwd=tmp_path, env=env) as process:
                await process.says("ready: ")
                url = (await process.says("collector   ")).removesuffix("/v1/events")
                done = await asyncio.to_thread(actionmap, *command, cwd=tmp_path, env={"ACTIONMAP_API_URL": url})
                assert said in done.stdout, done.stdout + done.stderr
                await post(url, {"eventName": "order", "visitorId": "ada"})
                await process.says("each-order → tell-shop for ada: delivered (200)")
                assert await process.stop(signal.SIGINT) == 0
    assert [one.headers["authorization"] for one in receiver.requests] == ["Bearer written-out"] * 3


async def test_dev_keeps_a_key_of_its_own_and_gives_samples_tokens(tmp_path: Path) -> None:
    signing = {"scheme": "standardWebhooks", "secret": "whsk_" + "YWJj" * 10 + "YWI="}
    login = oauth("https://login.example.com/token")
    write(tmp_path / "rules", rules("https://shop.example.com", auth=login, signing=signing))
    for _ in range(2):
        async with running("dev", "--port", "0", "--kafka-port", "0", "--data", "data", cwd=tmp_path) as process:
            await process.says("ready: ")
            url = (await process.says("collector   ")).removesuffix("/v1/events")
            await post(url, {"eventName": "order", "visitorId": "ada"})
            await process.says("each-order → tell-shop for ada: delivered (200)")
            assert await process.stop(signal.SIGINT) == 0
    assert (tmp_path / "data" / "secrets.key").stat().st_mode & 0o777 == 0o600
