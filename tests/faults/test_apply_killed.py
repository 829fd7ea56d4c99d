"""A change of the definitions that is killed at any byte leaves the old set or the new one, whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from actionmap.catalog.plan import plan
from actionmap.catalog.versions import former_definition
from actionmap.errors import Unreachable
from actionmap.registry import Edit, Registry
from actionmap.store.redis import RedisStore
from support import definitions, rules

OLD = definitions(rules())
NEW = definitions(
    [
        {**one, "description": "new"} if one["kind"] in ("Webhook", "Integration") else one
        for one in rules()
        if one["name"] != "first-visit"
    ]
    + [{**rules()[3], "name": f"map-{number}", "description": "x" * 500} for number in range(40)]
)
POINTS = 24


class Line:
    """Passes so many bytes of requests on to the server, and is gone then."""

    def __init__(self, server: str, bytes_left: float) -> None:
        self.server, self.bytes_left, self.passed = server, bytes_left, 0
        self.writers: list[asyncio.StreamWriter] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.server.rpartition(":")
        answers, requests = await asyncio.open_connection(host, int(port))
        self.writers += [writer, requests]
        with suppress(ConnectionError):
            await asyncio.gather(self.pass_on(reader, requests, counts=True), self.pass_on(answers, writer))

    async def pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        while data := await reader.read(4096):
            if counts:
                data = data[: int(min(len(data), self.bytes_left))]
                self.bytes_left -= len(data)
                self.passed += len(data)
            writer.write(data)
            await writer.drain()
            if counts and self.bytes_left <= 0:
                for one in self.writers:
                    one.transport.abort()
                return
        writer.close()


@asynccontextmanager
async def line_to(server: str, bytes_left: float) -> AsyncIterator[tuple[Line, str]]:
    line = Line(server, bytes_left)
    listener = await asyncio.start_server(line.connected, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    try:
        yield line, f"redis://{host}:{port}/0"
    finally:
        listener.close()
        for writer in line.writers:
            writer.transport.abort()


async def apply(registry: Registry) -> None:
    def make() -> Edit:
        changes = plan(registry.entries, NEW, prune=True)
        gone = frozenset(change.key for change in changes if change.action == "delete")
        return Edit({change.key: change.step for change in changes if change.step is not None}, gone)

    await registry.update(make, "killed")


async def cut(server: str, prefix: str, bytes_left: float) -> int:
    """Apply ``NEW`` through a line that is gone after so many bytes; returns how many passed."""
    async with line_to(server, bytes_left) as (line, url):
        store = RedisStore(url, prefix=prefix, clock=lambda: 0)
        with suppress(Unreachable):
            await apply(Registry(store))
        with suppress(Unreachable):
            await store.close()
        return line.passed


async def look(store: RedisStore) -> tuple[Registry, list[Any]]:
    registry = Registry(store)
    await registry.refresh()
    assert registry.refused == ""
    return registry, await registry.audit(limit=100)


async def test_an_apply_killed_at_any_byte_leaves_the_old_set_or_the_new_one_and_can_be_repeated(
    valkey: str, unique: str
) -> None:
    server = valkey.removeprefix("redis://").partition("/")[0]
    seen: set[str] = set()
    whole = 0
    for point in range(POINTS + 1):
        prefix = f"{unique}-{point}"
        store = RedisStore(valkey, prefix=prefix, clock=lambda: 0)
        await Registry(store).change(OLD)
        passed = await cut(server, prefix, float("inf") if not whole else 1 + (whole - 2) * (point - 1) // (POINTS - 1))
        whole = whole or passed

        registry, audit = await look(store)
        is_new = registry.definitions.keys() == NEW.keys()
        seen.add("new" if is_new else "old")
        assert registry.definitions == (NEW if is_new else OLD)
        assert registry.revision == (2 if is_new else 1)
        assert len(audit) == len(OLD) + (43 if is_new else 0)

        await apply(registry)
        assert registry.definitions == NEW
        assert registry.revision == 2
        [former] = (await registry.former("Webhook/tell-shop", [1])).values()
        assert former_definition(former) == OLD["Webhook/tell-shop"]
        await store.close()
    assert seen == {"old", "new"}


@pytest.mark.parametrize("revision", [1, 40])
async def test_a_revision_is_always_above_those_that_partitions_were_judged_by(
    valkey: str, unique: str, revision: int
) -> None:
    """The store has lost definitions alone: what is applied next is taken by every partition."""

    async def judged_by() -> int:
        return revision

    store = RedisStore(valkey, prefix=unique, clock=lambda: 0)
    registry = Registry(store, judged_by=judged_by)
    await registry.change(OLD)
    assert registry.revision == revision + 1

    async def judged_later() -> int:
        return revision + 7

    again = Registry(store, judged_by=judged_later)
    await again.update(lambda: Edit(), "nobody")  # noqa: PLW0108 - nothing is to be done
    assert again.revision == revision + 8, "also when the same set is applied again"
    reader = Registry(store)
    await reader.refresh()
    assert (reader.revision, reader.definitions) == (revision + 8, OLD)
    await store.close()
