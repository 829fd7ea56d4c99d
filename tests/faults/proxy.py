"""A TCP proxy on loopback that breaks the network between a client and a server, in all the ways it breaks.

    async with FaultProxy("127.0.0.1:6379") as proxy:
        client = connect(proxy.address)
        proxy.cut_reply_to(b"EVALSHA")  # the server executes it, the client never hears of it
        ...
        await proxy.struck()

A fault holds for the connections there are and for new ones, until another one or `heal`. It replaces the one before.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

_CHUNK_BYTES = 64 * 1024
#: Slices in which a throttled connection passes what it may pass in a second.
_SLICES = 20


class _Fault(NamedTuple):
    """What happens to bytes; as it stands, nothing does."""

    frozen: bool = False
    swallow_requests: bool = False
    swallow_replies: bool = False
    bytes_per_second: int = 0
    delay_s: float = 0.0
    #: Bytes of replies that still pass before all connections are cut; None: any number.
    replies_left: int | None = None
    cut_at_reply: bytes = b""
    cut_reply_to: bytes = b""


class _Link:
    """One client's connection, and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = (client, server)
        #: Bytes were swallowed, so what would follow makes no sense.
        self.lossy = False
        #: The reply that comes next is the one that must not arrive.
        self.marked = False
        #: The ends of what has passed, for patterns that come in two pieces: requests, replies.
        self.tails = [b"", b""]

    def reset(self) -> None:
        """End both connections with RST, as a process does that is killed, or a firewall that has had enough."""
        for writer in self.writers:
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class FaultProxy:
    """Passes everything on until told otherwise.

    Args:
        target: ``host:port`` of the server; it need not be there yet.
        port: Where to listen; 0 takes a free port.
    """

    def __init__(self, target: str, *, port: int = 0) -> None:
        self._target = target.rpartition(":")
        self._port = port
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault = _Fault()
        self._changed = asyncio.Event()
        self._struck = asyncio.Event()

    @property
    def address(self) -> str:
        """``host:port`` for the client."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def heal(self) -> None:
        """Pass everything on again. Connections that have lost bytes are reset; frozen ones go on where they were."""
        for link in [link for link in self._links if link.lossy]:
            link.reset()
        self._become(_Fault())
        await self._listen()

    async def cut(self) -> None:
        """Reset all connections, and refuse new ones: the server is gone."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._become(_Fault())
        self._reset_all()

    def hang(self, *, replies_only: bool = False) -> None:
        """Take what comes and pass nothing on; ``replies_only``: the server hears and acts, and is never heard."""
        self._become(_Fault(swallow_requests=not replies_only, swallow_replies=True))

    def freeze(self) -> None:
        """Neither read nor write while the sockets stay open: the other end has vanished without a word."""
        self._become(_Fault(frozen=True))

    def throttle(self, bytes_per_second: int) -> None:
        """Pass at most so many bytes a second on each connection and way."""
        self._become(_Fault(bytes_per_second=bytes_per_second))

    def delay(self, seconds: float) -> None:
        """Hold each piece for so long before it passes, on both ways."""
        self._become(_Fault(delay_s=seconds))

    def cut_after(self, reply_bytes: int) -> None:
        """Reset all connections once, after so many more bytes of replies; then pass everything on."""
        self._become(_Fault(replies_left=reply_bytes))

    def cut_at_reply(self, pattern: bytes) -> None:
        """Reset all connections once, when a reply holds ``pattern``, which does not pass; then pass everything on."""
        self._become(_Fault(cut_at_reply=pattern))

    def cut_reply_to(self, pattern: bytes) -> None:
        """Let a request with ``pattern`` through, and reset all connections, once, instead of passing its reply."""
        self._become(_Fault(cut_reply_to=pattern))

    async def struck(self) -> None:
        """Wait until the last of `cut_after`, `cut_at_reply` and `cut_reply_to` has cut."""
        await self._struck.wait()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._listener.sockets[0].getsockname()[1]

    def _become(self, fault: _Fault) -> None:
        self._fault = fault
        self._struck.clear()
        # Who waits on the old event looks again; a new one is for those who wait from now on.
        self._changed.set()
        self._changed = asyncio.Event()

    def _reset_all(self) -> None:
        for link in list(self._links):
            link.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, to_server = await asyncio.open_connection(self._target[0], int(self._target[2]))
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, to_server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, to_server, replies=False))
                group.create_task(self._pump(link, from_server, writer, replies=True))
        except* OSError:
            pass  # one end is gone, so the other goes too
        finally:
            self._links.discard(link)
            link.reset()

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        while True:
            await self._until(lambda fault: not fault.frozen)
            rate = self._fault.bytes_per_second
            data = await source.read(max(1, rate // _SLICES) if rate else _CHUNK_BYTES)
            await self._until(lambda fault: not fault.frozen)
            if self._swallows(replies):
                link.lossy = True
                if not data:  # nor does the end of the stream come through
                    await self._until(lambda _: not self._swallows(replies))
                    raise ConnectionResetError
                continue
            if not data:
                break
            await self._wait_for(data)
            passing = self._inspect(link, data, replies=replies)
            sink.write(passing)
            await sink.drain()
            if len(passing) < len(data):
                self._strike()
        with suppress(OSError):
            sink.write_eof()

    def _swallows(self, replies: bool) -> bool:
        return self._fault.swallow_replies if replies else self._fault.swallow_requests

    async def _wait_for(self, data: bytes) -> None:
        fault = self._fault
        await asyncio.sleep(len(data) / fault.bytes_per_second if fault.bytes_per_second else fault.delay_s)

    async def _until(self, holds: Callable[[_Fault], bool]) -> None:
        while not holds(self._fault):
            await self._changed.wait()

    def _inspect(self, link: _Link, data: bytes, *, replies: bool) -> bytes:
        """What of ``data`` may pass; less than all of it means that the connections must be cut."""
        fault = self._fault
        if not replies:
            link.marked |= self._find(link, data, fault.cut_reply_to, replies) is not None
            return data
        if link.marked and fault.cut_reply_to:
            return b""
        if fault.replies_left is not None:
            self._fault = fault._replace(replies_left=max(0, fault.replies_left - len(data)))
            return data[: fault.replies_left]
        return data[: self._find(link, data, fault.cut_at_reply, replies)]

    def _find(self, link: _Link, data: bytes, pattern: bytes, replies: bool) -> int | None:
        """Where ``pattern`` begins in ``data``: 0 when it began in the piece before; None when it is not there."""
        if not pattern:
            return None
        tail = link.tails[replies]
        at = (tail + data).find(pattern)
        link.tails[replies] = (tail + data)[-(len(pattern) - 1) :] if len(pattern) > 1 else b""
        return max(0, at - len(tail)) if at >= 0 else None

    def _strike(self) -> None:
        self._become(_Fault())
        self._reset_all()
        self._struck.set()
