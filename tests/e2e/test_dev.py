"""`actionmap dev` as people run it: one process, a folder, and definitions in files."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from actionmap.demo.receiver import Receiver
from actionmap.store.durability import Guarantees
from commands import Run, command_line
from processes import PATIENCE_S, Process, check_webhook, post, running, write_rules


@pytest.fixture(scope="module")
def actionmap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with command_line(tmp_path_factory.mktemp("streams")) as run:
        yield run


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@asynccontextmanager
async def dev(folder: Path, *args: str, **env: str) -> AsyncIterator[tuple[Process, str]]:
    """The running stack, ready, and its URL."""
    ports = ("--port", "0", "--kafka-port", "0")
    async with running("dev", *ports, "--data", "data", *args, cwd=folder,
                       env={"ACTIONMAP_EGRESS_ALLOW": "127.0.0.1/32", **env}) as process:  # fmt: skip
        await process.says("ready: ")
        yield process, (await process.says("collector   ")).removesuffix("/v1/events")


#: YAML of what is refused → line, and what is said of it: by one document alone, by several, and by what is stored.
WRONG = {
    "a text\n---\nkind: Segmnt\n---\nkind: Segment\nname: s\nwhen: {key: visitor.id, operator: exist}\n": [
        "1: error: a definition is a mapping with kind, name and more",
        "3: error: kind: kind is 'Segmnt'; expected one of Integration, DataAction",
        "7: error: Segment s: when.operator: 'exist' is not one of",
    ],
    2 * "---\nkind: Segment\nname: s\nwhen: {key: visitor.id, operator: exists}\n": [
        "7: error: Segment s: name: there is already one of this kind and name at wrong/some.yaml:3",
    ],
    "kind: Webhook\nname: tell-shop\n\ndataAction: tel\nmappings: {}\n": [
        "4: error: Webhook tell-shop: dataAction: there is no DataAction 'tel'; did you mean 'tell'?",
    ],
}


def visit(**more: Any) -> dict[str, Any]:
    return {"eventName": "visit", "visitorId": "ada", **more}


def order(n: int) -> dict[str, Any]:
    return {"eventName": "order", "visitorId": "ada", "attributes": {"n": n}}


async def test_an_event_over_http_becomes_a_signed_and_authenticated_webhook(
    receiver: Receiver, tmp_path: Path
) -> None:
    write_rules(tmp_path / "rules", receiver.url)
    # A first start that was broken off has left this, and no definitions.
    (tmp_path / "data" / "store" / "appendonlydir").mkdir(parents=True)
    async with dev(tmp_path) as (process, url):
        answer = await post(url, order(7), {"eventName": "webhook_failed", "visitorId": "ada"})
        assert (answer["accepted"], answer["rejected"]) == (1, 1)
        (request,) = await receiver.wait_for(1, PATIENCE_S)
        check_webhook(request, n=7, visitor="ada")
        await process.says("each-order → tell-shop for ada: delivered (200)")
        assert "ACTIONMAP_EGRESS_ALLOW allows 127.0.0.1/32" in process.output()
        await post(url, {**order(8), "visitorId": "eve\x1b[2J"})
        await process.says(r"each-order → tell-shop for eve\x1b[2J: delivered (200)")
        assert await process.stop(signal.SIGINT) == 0
    assert "\x1b" not in process.output()
    assert "Traceback" not in process.output()
    assert "shop-token" not in process.output()


async def test_definitions_go_in_and_out_as_files_and_the_check_answers_for_what_runs(
    actionmap: Run, tmp_path: Path
) -> None:
    write_rules(tmp_path / "mine", "https://shop.example.com")
    (tmp_path / "rules").mkdir()
    async with dev(tmp_path, ACTIONMAP_SECRET_SHOP="", ACTIONMAP_SECRET_SIGN="") as (process, url):
        assert "there are no definitions: nothing fires until some are loaded" in process.output()

        async def ask(*args: str) -> tuple[int, str]:
            done = await asyncio.to_thread(actionmap, *args, cwd=tmp_path, env={"ACTIONMAP_API_URL": url})
            assert done.stderr == "" or done.returncode == 2
            return done.returncode, done.stdout + done.stderr

        code, said = await ask("plan", "mine")
        assert (code, said.count("+ create ")) == (1, 5)
        assert (await ask("apply", "mine"))[0] == 0
        assert await ask("plan", "mine") == (0, "0 to do, 5 unchanged; the server is at revision 1\n")
        assert await ask("apply", "mine") == (0, "5 unchanged; the server is at revision 1\n")
        for wrong, findings in WRONG.items():
            (tmp_path / "wrong").mkdir(exist_ok=True)
            (tmp_path / "wrong" / "some.yaml").write_text(wrong)
            code, said = await ask("apply", "wrong")
            assert (code, [line.removeprefix("error: wrong/some.yaml:")[:50] for line in said.splitlines()]) == (
                2, [finding[:50] for finding in findings],
            )  # fmt: skip
        assert (await ask("export", "out"))[0] == 0
        assert await ask("plan", "out", "--prune") == (0, "0 to do, 5 unchanged; the server is at revision 1\n")
        assert "${ACTIONMAP_SECRET_SHOP}" in (tmp_path / "out" / "integrations.yaml").read_text()

        code, said = await ask("check-golive", "--probe", "--format", "json")
        assert [(one["actionMap"], one["ready"]) for one in json.loads(said)] == [
            ("each-order", True), ("first-visit", True),
        ]  # fmt: skip
        assert code == 0
        not_passed = {check["name"]: check["status"] for one in json.loads(said) for check in one["checks"]
                      if check["status"] != "pass"}  # fmt: skip
        assert not_passed == {"lookups-resolved": "skip"}
        assert (await ask("check-golive", "nowhere"))[0] == 2
        code, said = await ask("status")
        assert (code, said.splitlines()[:2]) == (
            0, ["ready: revision 1, 2 active action maps", f"store: {Guarantees('always').words}"],
        )  # fmt: skip

        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/health/ready")).json()["activeMaps"] == 2
            while 'actionmap_outbox_deliveries{partition="0"} 0.0' not in (await client.get("/metrics")).text:
                pass
        # A sample host goes to the receiver of `dev`, also when it was defined after the start.
        await post(url, order(1), {**order(2), "attributes": {}})
        await process.says("each-order → tell-shop for ada: delivered (200)")
        # What had no value is counted by the engine, and told by the check.
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(base_url=url, trust_env=False) as client:
            told = ""
            while "n (event.attributes.n) had a value for" not in told:
                checks = (await client.get("/api/v1/action-maps/each-order/go-live")).json()["checks"]
                [told] = [check["message"] for check in checks if check["name"] == "lookups-resolved"]
        assert "0 of 1 visitors (1 of 2 matches)" in told


async def test_credentials_that_nobody_has_set_are_told_by_the_check(
    receiver: Receiver, actionmap: Run, tmp_path: Path
) -> None:
    write_rules(tmp_path / "rules", receiver.url)
    async with dev(tmp_path, ACTIONMAP_SECRET_SHOP="") as (_, url):
        done = await asyncio.to_thread(actionmap, "check-golive", "each-order", "--format", "json", cwd=tmp_path,
                                       env={"ACTIONMAP_API_URL": url})  # fmt: skip
    assert done.returncode == 1
    failed = [check for check in json.loads(done.stdout)[0]["checks"] if check["status"] == "fail"]
    assert [check["name"] for check in failed] == ["credentials-present"]
    assert failed[0]["message"] == "not set: ACTIONMAP_SECRET_SHOP"


async def test_after_a_stop_definitions_and_visitors_are_still_there_although_the_broker_is_new(
    receiver: Receiver, tmp_path: Path
) -> None:
    rules = write_rules(tmp_path / "rules", receiver.url)
    async with dev(tmp_path) as (process, url):
        await post(url, visit(), visit(), order(1))
        await receiver.wait_for(2, PATIENCE_S)
        assert await process.stop(signal.SIGINT) == 0
        assert "stopped; definitions and visitors are kept in data" in process.output()
    (rules / "shop.yaml").unlink()

    async with dev(tmp_path) as (process, url):
        assert "continuing with the definitions and visitors of the last start" in process.output()
        assert "files are not read again" in process.output()
        await post(url, visit(), order(2))
        await receiver.wait_for(3, PATIENCE_S)
        assert await process.stop(signal.SIGTERM) == 0

    bodies = sorted(json.loads(request.body)["n"] for request in receiver.requests)
    assert bodies == [-1, 1, 2]  # the visit fired once: its cap of one a session has lasted
    assert "Traceback" not in process.output()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_killed_it_leaves_no_broker_and_no_store_behind(tmp_path: Path) -> None:
    write_rules(tmp_path / "mine", "https://shop.example.com")
    async with dev(tmp_path, "--rules", "mine") as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        ends = [os.pidfd_open(int(child)) for child in children]
        assert await process.stop(signal.SIGKILL) == -signal.SIGKILL
        for end in ends:
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(end, ended.set)
            async with asyncio.timeout(PATIENCE_S):
                await ended.wait()
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)

    async with dev(tmp_path, "--rules", "mine") as (process, _):  # the folder is free again
        assert await process.stop(signal.SIGINT) == 0
    assert "continuing with the definitions and visitors of the last start" in process.output()
    assert "definitions: 5 read, 0 changed" in process.output()
    assert "files are not read again" not in process.output()
