"""A receiver that means harm, on raw sockets; a name server that lies; and what shows which packets leave us."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PIECE = b"a" * 65536

Talk = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Talks on each connection as told; counts connections and keeps the requests."""

    def __init__(self, talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.talk = talk
        self._where = host, tls
        self.requests: list[bytes] = []
        #: See `answering`.
        self.answers: list[bytes] = []
        self.connections = 0
        #: Bytes that were handed to the kernel as part of an endless answer.
        self.sent = 0
        #: Set when the other side has closed a connection.
        self.closed = asyncio.Event()

    async def __aenter__(self) -> "Server":
        host, tls = self._where
        self._server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        """Read a request, head and body, and keep it."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        self.requests.append(head + await reader.readexactly(length))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.talk(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.closed.set()
            writer.close()


# --- answers


def answering(*answers: bytes, **given: Any) -> Server:
    """Gives the answers in turn, the last one again and again, and keeps its connections."""

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            writer.write(server.answers.pop(0) if len(server.answers) > 1 else server.answers[0])
            await writer.drain()

    server = Server(talk, **given)
    server.answers += answers
    return server


def dripping(head: bytes, drop: bytes = b"a", every_s: float = 0.02) -> Talk:
    """Answers ``head``, and then a drop now and then, for ever."""

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(head)
        while not reader.at_eof():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(every_s)

    return talk


def flooding(head: bytes, piece: bytes = PIECE, times: int = 2**20, end: bytes = b"") -> Talk:
    """Answers ``head``, then ``piece`` as often as it is taken, up to ``times``, and then ``end``."""

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()
            server.sent += len(piece)
        writer.write(end)
        await writer.drain()
        await reader.read()

    return talk


def breaking_off(answer: bytes) -> Talk:
    """Answers ``answer`` and resets the connection."""

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(answer)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    return talk


async def hang_up(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Closes instead of answering."""
    await server.read_request(reader)


async def silence(_server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Takes everything and says nothing, not even within TLS."""
    await reader.read()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer."""
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\n{told}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- names


class Names:
    """A name server that answers by script: each question takes the next answer, and the last one stays."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._left = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        found = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if isinstance(found, OSError):
            raise found
        return found


# --- packets and memory

_watching: list[list[tuple[str, Any]]] = []
_WATCHED = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in _WATCHED:
        for heard in _watching:
            heard.append((event, args[_WATCHED[event]]))


# Python tells of each of these calls before it makes it, whoever asks for it; such a hook stays for the whole run.
sys.addaudithook(_hear)


@contextmanager
def packets() -> Iterator[list[tuple[str, Any]]]:
    """Every connection and every question to a name server that this process begins, as (what, whereto)."""
    heard: list[tuple[str, Any]] = []
    _watching.append(heard)
    try:
        yield heard
    finally:
        _watching.remove(heard)


def memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def growth() -> AsyncIterator[list[int]]:
    """By how many bytes this process grows meanwhile: the most that is seen, looked at every few milliseconds."""
    before, most = memory(), [0]
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            most[0] = max(most[0], memory() - before)
            try:
                await asyncio.wait_for(done.wait(), 0.002)
            except TimeoutError:
                continue

    looking = asyncio.create_task(look())
    try:
        yield most
    finally:
        done.set()
        await looking
        most[0] = max(most[0], memory() - before)
