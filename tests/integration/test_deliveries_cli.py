"""`deliveries list | show | replay` and `webhooks test` as processes, against a server that listens."""

import asyncio
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from test_admin import RULES, Server
from test_deliveries_api import dead, listed, one_of_each, put

from actionmap.process import address_of, listen
from actionmap.serving import serve_http
from commands import Run, command_line
from support import definitions

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def actionmap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with command_line(tmp_path_factory.mktemp("streams")) as run:
        yield run


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    made = Server()
    await made.registry.change(definitions(RULES))
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(serve_http(made.app, listener))
        yield made, address_of(listener)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def ask(server: tuple[Server, str], actionmap: Run, tmp_path: Any) -> Ask:
    """Runs a command against the server."""
    env = {"ACTIONMAP_API_URL": server[1], "ACTIONMAP_API_KEY": "key-all"}
    turn = threading.Lock()

    def run(args: tuple[str, ...], stdin: bytes) -> subprocess.CompletedProcess[str]:
        with turn:
            return actionmap(*args, cwd=tmp_path, stdin=stdin, env=env)

    async def asked(*args: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = await asyncio.to_thread(run, args, stdin)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return asked


async def test_deliveries_are_listed_by_state_and_by_what_they_belong_to(server: tuple[Server, str], ask: Ask) -> None:
    await one_of_each(server[0])
    code, said, _ = await ask("deliveries", "list", "--state", "delivered", "--format", "jsonl")
    (row,) = map(json.loads, said.splitlines())
    assert (code, row["id"], row["state"], row["attempts"], len(row["log"])) == (0, "taken", "delivered", 1, 1)
    assert {"actionMap", "visitorId", "eventId", "at", "request"} <= row.keys()
    _, said, _ = await ask("deliveries", "list", "--integration", "other")
    assert said.splitlines()[-1] == "1 deliveries"
    assert "tried retrying each-order for v 1 attempts: status 503 Service Unavailable" in said
    for option, value in (("--webhook", "tell-else"), ("--map", "none"), ("--visitor", "none")):
        _, said, _ = await ask("deliveries", "list", option, value)
        assert said.splitlines()[-1] == f"{int(value == 'tell-else')} deliveries"
    assert (await ask("deliveries", "list", "--state", "pending"))[0] == 2


async def test_a_delivery_is_shown_with_a_table_of_its_attempts(server: tuple[Server, str], ask: Ask) -> None:
    await one_of_each(server[0])
    code, said, _ = await ask("deliveries", "show", "tried")
    assert code == 0
    (line,) = [line for line in said.splitlines() if "1970-01-01T00:00:01.000Z" in line]
    for text in ("retry", "503", "0.123", "7 B", "status 503 Service Unavailable", "1970-01-01T00:00:09.000Z"):
        assert text in line
    assert "https://shop.example.com/told" not in said  # that integration is gone
    _, said, _ = await ask("deliveries", "show", "tried", "--format", "json")
    assert json.loads(said)["log"][0]["status"] == 503
    assert (await ask("deliveries", "show", "none"))[0] == 2


async def test_dead_deliveries_are_replayed_in_numbers_after_a_question(server: tuple[Server, str], ask: Ask) -> None:
    made = server[0]
    others = tuple(dead(f"o{n}", at=n, integration="other") for n in range(5))
    await put(made, 0, dead=(*(dead(f"a{n:03}", at=n) for n in range(700)), *others))
    await put(made, 1, dead=tuple(dead(f"b{n:03}", at=n) for n in range(300)))
    replay = ("deliveries", "replay", "--all", "--integration", "shop", "--per-second", "10")
    code, said, asked = await ask(*replay, stdin=b"n\n")
    assert (code, "1,000 dead deliveries, 10 a second: 2 min" in said, "owe them again?" in asked) == (1, True, True)
    assert await made.store.outbox_size(0) == 0

    code, said, _ = await ask(*replay, "--yes")
    assert (code, said.splitlines()[-1]) == (0, "1,000 owed again")
    times = [due for number in (0, 1)
             for due in await made.store.due_times(number, [one.id for one in await made.store.owed(number, limit=999)])
             if due]  # fmt: skip
    assert (len(times), len(set(times))) == (1000, 1000)
    assert max(times) - min(times) == pytest.approx(99_900, abs=10_000)
    assert await listed(made, state="dead") == {f"o{n}": "dead" for n in range(5)}
    assert (await ask(*replay))[:2] == (0, "0 dead deliveries, 10 a second: 0 s\n0 owed again\n")


async def test_a_replay_of_all_says_how_many_were_never_rendered_and_leaves_them(
    server: tuple[Server, str], ask: Ask
) -> None:
    empty = replace(dead("empty", target="", body=None), was_rendered=False)
    await put(server[0], 0, dead=(empty, dead("a")))
    code, said, noted = await ask("deliveries", "replay", "--all", "--yes")
    assert (code, said.splitlines()[-1], "1 stay dead: they were never rendered" in noted) == (0, "1 owed again", True)
    assert await listed(server[0]) == {"a": "owed", "empty": "dead"}
    code, said, noted = await ask("deliveries", "replay", "empty")
    assert (code, said, "mend the rules and send its event again" in noted) == (1, "0 of 1 replayed\n", True)


async def test_a_replay_says_which_or_does_nothing(server: tuple[Server, str], ask: Ask) -> None:
    await put(server[0], 0, dead=(dead("a"), dead("b")))
    for args in ((), ("--integration", "shop"), ("a", "--all"), ("a", "--integration", "shop")):
        code, _, said = await ask("deliveries", "replay", *args)
        assert (code, "say which" in said) == (2, True)
    assert (await ask("deliveries", "replay", "a"))[:2] == (0, "1 of 1 replayed\n")
    assert await listed(server[0]) == {"a": "owed", "b": "dead"}


async def test_a_webhook_is_tried_out_by_the_server(server: tuple[Server, str], ask: Ask) -> None:
    code, said, _ = await ask("webhooks", "test", "tell-shop")
    assert (code, "tell-shop (published) to shop" in said, "Authorization: Basic ***" in said) == (0, True, True)
    code, said, _ = await ask("webhooks", "test", "tell-shop", "--format", "json")
    assert json.loads(json.loads(said)["request"]["body"]) == {"n": -1, "visitor": "sample"}
    for args, text in (
        (("nowhere",), "there is no Webhook"), (("tell-shop", "--visitor", "v", "--rules", "."), "know no visitors"),
        (("tell-shop", "--visitor", "v"), "there is no visitor"),
    ):  # fmt: skip
        code, _, said = await ask("webhooks", "test", *args)
        assert (code, text in said) == (2, True)
