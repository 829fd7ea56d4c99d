"""Each fault of the proxy, between a real client and a real server that answers each line with itself in capitals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from faults.proxy import FaultProxy

PATIENCE_S = 10.0
#: Long enough for a line to come through if nothing holds it.
SHORT_S = 0.15


class Shouting:
    """The server: what it heard, and who is connected to it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.changed = asyncio.Condition()
        self.connected = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._tell(connected=1)
        try:
            while line := await reader.readline():
                await self._tell(line)
                writer.write(line.upper())
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            await self._tell(connected=-1)

    async def _tell(self, *lines: bytes, connected: int = 0) -> None:
        async with self.changed:
            self.heard += lines
            self.connected += connected
            self.changed.notify_all()

    async def until(self, reached: Callable[["Shouting"], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: reached(self))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, line: bytes) -> None:
        self.writer.write(line)

    async def ask(self, line: bytes) -> bytes:
        self.say(line)
        return await self.hears()

    async def hears(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readline()

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await self.reader.read(1)

    async def is_reset(self) -> None:
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                await self.reader.read()


@pytest.fixture
def server() -> Shouting:
    return Shouting()


@pytest.fixture
async def proxy(server: Shouting) -> AsyncIterator[FaultProxy]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()[:2]
    async with FaultProxy(f"{host}:{port}") as proxy:
        yield proxy
    await server.until(lambda server: server.connected == 0)
    listener.close()


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    host, _, port = proxy.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def works_again(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"again\n") == b"AGAIN\n"


async def test_without_a_fault_all_bytes_pass_both_ways(proxy: FaultProxy) -> None:
    async with connected(proxy) as one, connected(proxy) as other:
        long = b"x" * 60_000 + b"\n"
        assert await one.ask(long) == long.upper()
        assert await other.ask(b"b\n") == b"B\n"
        assert proxy.connections == 2


async def test_the_end_of_a_stream_passes_and_what_was_on_its_way_with_it(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        client.say(b"last\n")
        client.writer.write_eof()
        assert await client.hears() == b"LAST\n"
        assert await client.hears() == b""


async def test_a_cut_resets_connections_and_refuses_new_ones_until_healed(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"a\n") == b"A\n"
        await proxy.cut()
        await client.is_reset()
    with pytest.raises(ConnectionRefusedError):
        async with connected(proxy):
            pass
    address = proxy.address
    await proxy.heal()
    assert proxy.address == address
    await works_again(proxy)


async def test_a_server_that_is_not_there_is_a_connection_that_ends() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()[:2]
    listener.close()
    await listener.wait_closed()
    async with FaultProxy(f"{host}:{port}") as proxy, connected(proxy) as client:
        assert await client.hears() == b""


async def test_hanging_passes_nothing_to_the_server(proxy: FaultProxy, server: Shouting) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"a\n") == b"A\n"
        proxy.hang()
        client.say(b"never\n")
        await client.hears_nothing()
        async with connected(proxy) as late:
            late.say(b"nor this\n")
            await late.hears_nothing()
        await proxy.heal()
        await client.is_reset()
    await works_again(proxy)
    assert server.heard == [b"a\n", b"again\n"]


async def test_hanging_replies_let_the_server_act_unheard(proxy: FaultProxy, server: Shouting) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"a\n") == b"A\n"
        proxy.hang(replies_only=True)
        client.say(b"act\n")
        await server.until(lambda server: server.heard == [b"a\n", b"act\n"])
        await client.hears_nothing()
        await proxy.heal()
        await client.is_reset()
    await works_again(proxy)


async def test_a_frozen_connection_stays_open_takes_no_more_than_its_buffers_and_loses_nothing(
    proxy: FaultProxy, server: Shouting
) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"a\n") == b"A\n"
        proxy.freeze()
        client.say(b"held\n")
        await client.hears_nothing()
        client.say(b"x" * 32_000_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await client.writer.drain()
        assert server.heard == [b"a\n"]
        await proxy.heal()
        assert await client.hears() == b"HELD\n"


async def test_the_end_of_a_stream_is_not_seen_through_a_frozen_connection(proxy: FaultProxy, server: Shouting) -> None:
    async with connected(proxy) as client:
        assert await client.ask(b"a\n") == b"A\n"
        proxy.freeze()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await server.until(lambda server: server.connected == 0)
    await proxy.heal()
    await server.until(lambda server: server.connected == 0)


async def test_a_throttle_passes_so_many_bytes_a_second(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        proxy.throttle(20_000)
        began = asyncio.get_running_loop().time()
        assert len(await client.ask(b"x" * 9_999 + b"\n")) == 10_000
        # Both ways work at once, so it takes half a second and not a whole one.
        assert 0.45 <= asyncio.get_running_loop().time() - began < 5
        await proxy.heal()
        assert await client.ask(b"a\n") == b"A\n"


async def test_a_delay_holds_each_way(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        proxy.delay(0.1)
        began = asyncio.get_running_loop().time()
        assert await client.ask(b"a\n") == b"A\n"
        assert 0.19 <= asyncio.get_running_loop().time() - began < 5


async def test_a_cut_after_some_bytes_of_the_reply_is_made_once(proxy: FaultProxy, server: Shouting) -> None:
    async with connected(proxy) as client:
        proxy.cut_after(len(b"FIRST\nSEC"))
        assert await client.ask(b"first\n") == b"FIRST\n"
        client.say(b"second\n")
        await asyncio.wait_for(proxy.struck(), PATIENCE_S)
        assert server.heard == [b"first\n", b"second\n"]
        with pytest.raises(ConnectionResetError):
            await client.reader.readexactly(1000)
    await works_again(proxy)


@pytest.mark.parametrize("pieces", [[b"the needle\n"], [b"the nee", b"dle\n"]])
async def test_a_reply_that_holds_a_pattern_does_not_pass(pieces: list[bytes]) -> None:
    said = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await said.wait()  # so that the pieces travel alone
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()[:2]
    async with FaultProxy(f"{host}:{port}") as proxy:
        proxy.cut_at_reply(b"needle")
        async with connected(proxy) as client:
            assert await client.reader.readexactly(4) == b"the "
            said.set()
            await asyncio.wait_for(proxy.struck(), PATIENCE_S)
            await client.is_reset()
    listener.close()


@pytest.mark.parametrize("pieces", [[b"please act\n"], [b"please a", b"ct\n"]])
async def test_the_reply_to_a_request_that_holds_a_pattern_never_comes(
    pieces: list[bytes], proxy: FaultProxy, server: Shouting
) -> None:
    async with connected(proxy) as client, connected(proxy) as other:
        proxy.cut_reply_to(b"act")
        assert await client.ask(b"first\n") == b"FIRST\n"
        for piece in pieces:
            client.say(piece)
            await client.hears_nothing() if piece is not pieces[-1] else None
        await asyncio.wait_for(proxy.struck(), PATIENCE_S)
        await client.is_reset()
        await other.is_reset()
    assert server.heard == [b"first\n", b"please act\n"]
    await works_again(proxy)


async def test_a_fault_replaces_the_one_before(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        proxy.freeze()
        client.say(b"a\n")
        proxy.delay(0.0)
        assert await client.hears() == b"A\n"
