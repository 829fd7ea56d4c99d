"""The running server against its own OpenAPI document: what schemathesis makes up is answered as it is described."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from test_admin import RULES, SEGMENT, Server, remember

from actionmap.process import address_of, listen, wall_clock
from actionmap.store.redis import RedisStore
from support import until

#: Made-up requests for each operation; a longer look takes a greater number.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "5"))
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "fuzzing")
#: A key of everything is asked everything; the others, where a right or a company makes a difference.
KEYS = {"key-all": ".", "key-read": "/segments", "key-acme": "/(webhooks|audit|status)"}
#: What is described may well be refused: a name that nothing has, a body whose references lead nowhere.
NOT_CHECKED = "positive_data_acceptance"
CONFIG = """
[checks.not_a_server_error]
# Kafka is away, and says so.
expected-statuses = ["2xx", "3xx", "4xx", "503"]
[checks.negative_data_rejection]
# A version that is not the newest is refused before anything else is looked at.
expected-statuses = ["400", "401", "403", "404", "409", "412", "415", "422", "428", "429", "503"]
"""


@asynccontextmanager
async def running(valkey: str, unique: str) -> AsyncIterator[str]:
    """The URL of a server with definitions and a visitor in a real store; its Kafka is away."""
    server = Server(store=RedisStore(valkey, prefix=unique, clock=wall_clock))
    written = await server.ask("PUT", "definitions", json={"definitions": [*RULES, SEGMENT]})
    assert written.status_code == 200, written.text
    await remember(server, "ann", "order")
    with listen("127.0.0.1", 0) as listener:
        http = uvicorn.Server(uvicorn.Config(server.app, log_level="warning", access_log=False))
        async with server.sender:
            serving = asyncio.create_task(http.serve(sockets=[listener]))

            async def is_up() -> bool:
                return http.started

            await until(is_up, "the server is up")
            try:
                yield address_of(listener)
            finally:
                http.should_exit = True
                await serving
                await server.store.close()


async def checked(url: str, folder: Path, key: str, examples: int, phases: str, paths: str = ".") -> tuple[int, str]:
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config), "run", f"{url}/openapi.json",
        "-H", f"Authorization: Bearer {key}", "--phases", phases, "-n", str(examples), "--seed", "1",
        "--include-path-regex", paths, "--exclude-checks", NOT_CHECKED,
        "--no-color", "--warnings", "off", "--continue-on-failure",
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, check=False, timeout=3600
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("key", KEYS)
async def test_whatever_is_asked_is_answered_as_it_is_described(
    key: str, valkey: str, unique: str, tmp_path: Path
) -> None:
    async with running(valkey, unique) as url:
        code, said = await checked(url, tmp_path, key, EXAMPLES, PHASES, KEYS[key])
    assert code == 0, said
