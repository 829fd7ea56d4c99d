"""P10 to P14, and P33: whatever comes back, an attempt ends in its time, in little memory, with one verdict."""

import asyncio
import gzip
import ssl
import zlib
from base64 import b64decode
from contextlib import asynccontextmanager

import pytest
from test_delivery_worker import Outbox, integration, owe, working

from actionmap.deliver.http import MAX_RESPONSE_BYTES
from actionmap.delivery import MOST_OF_BODY, Capture
from hostile.certificates import Authority
from hostile.sending import delivery, sender, to, wall_clock
from hostile.server import (
    OK,
    PIECE,
    Names,
    Server,
    answer,
    answering,
    breaking_off,
    dripping,
    flooding,
    growth,
    silence,
)

#: An attempt may end so much later than its time is up: machines of tests are slow, and what never ends is far later.
LATE_S = 1.5
MOST_GROWTH = 5 * 2**20
LOCAL = Names(["127.0.0.1"])


async def timed(out, owed, where):
    """The attempt, and how long it took by the clock of the event loop."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    attempt = await out.send(owed, where)
    return attempt, loop.time() - began


# --- P10: TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def over_tls(context, talk=None):
    """A server with ``context``, which keeps the names it was asked for and the protocols it was offered."""
    server = Server(talk, tls=context) if talk else answering(OK, tls=context)
    server.names = []
    context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    async with server:
        yield server


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        ({"host": "hook.example", "trusted": False}, "self-signed certificate"),
        ({"host": "hook.example", "days": -1}, "certificate has expired"),
        ({"host": "other.example"}, "Hostname mismatch"),
    ],
)
async def test_p10_a_certificate_that_does_not_vouch_for_the_name_is_refused_and_nothing_is_sent(
    certificate, why, authority
):
    context = authority.trusted()
    async with over_tls(authority.server(**certificate)) as server, sender(lookup=LOCAL, ssl_context=context) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert (attempt.outcome, server.requests) == ("retry", [])
    assert attempt.error.startswith("the TLS certificate is refused: ")
    assert why in attempt.error


async def test_p10_the_name_is_asked_for_and_checked_although_the_address_is_pinned(authority):
    context, trusted = authority.server("hook.example"), authority.trusted()
    async with over_tls(context) as server, sender(lookup=LOCAL, ssl_context=trusted) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert (attempt.outcome, server.names) == ("delivered", ["hook.example"])
    assert f"\r\nhost: hook.example:{server.port}\r\n".encode() in server.requests[0].lower()


async def test_p10_an_authority_that_nobody_knows_is_none(authority):
    async with over_tls(authority.server("hook.example")) as server, sender(lookup=LOCAL) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert (attempt.outcome, server.requests) == ("retry", [])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_p10_old_tls_is_refused(version, authority):
    old, lenient = authority.server("hook.example"), authority.trusted()
    for context in (old, lenient):
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = version
    old.maximum_version = version
    async with over_tls(old) as server:
        where = to(f"https://hook.example:{server.port}")
        async with sender(lookup=LOCAL, ssl_context=lenient) as out:
            # It does speak it, to who asks for it.
            assert (await out.send(delivery(), where)).outcome == "delivered"
        async with sender(lookup=LOCAL, ssl_context=authority.trusted()) as out:
            attempt = await out.send(delivery(), where)
    assert (attempt.outcome, len(server.requests)) == ("retry", 1)
    assert "TLS" in attempt.error


async def test_p33_http_2_is_not_offered(authority):
    context, chosen = authority.server("hook.example"), []

    async def talk(server, reader, writer):
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await server.read_request(reader)
        writer.write(OK)
        await writer.drain()

    context.set_alpn_protocols(["h2", "http/1.1"])
    trusted = authority.trusted()
    async with over_tls(context, talk) as server, sender(lookup=LOCAL, ssl_context=trusted) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert (attempt.outcome, chosen) == ("delivered", ["http/1.1"])


async def test_p33_an_answer_in_http_2_is_none():
    settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" * 1000
    async with Server(flooding(b"", settings)) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.error) == ("retry", "the answer is no valid HTTP")


# --- P11: time

NEVER = {
    "silence": silence,
    "drips before the status": dripping(b"", b"\r\n"),
    "drips in the status": dripping(b"HTTP/1.1 200 "),
    "drips in a header": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "drips headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "continues now and then": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "floods with continue": flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "floods with early hints": flooding(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
    "floods with empty lines": flooding(b"", b"\r\n" * 30_000),
}


@pytest.mark.parametrize("talk", NEVER.values(), ids=NEVER)
async def test_p11_an_answer_that_never_comes_ends_when_the_time_is_up(talk):
    async with Server(talk) as server, sender() as out:
        async with growth() as grown:
            attempt, took_s = await timed(out, delivery(timeout_s=0.3), to(server.url))
        await asyncio.wait_for(server.closed.wait(), 5)
    assert (attempt.outcome, attempt.status, attempt.error) == ("retry", None, "no answer within 0.3 s")
    assert 0.25 < took_s < 0.3 + LATE_S
    assert grown[0] < MOST_GROWTH


ENDLESS = {
    "drips": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
    "drips until it closes": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "drips chunks": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "an endless chunk extension": flooding(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"),
    "drips trailers": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", 0.05),
}


@pytest.mark.parametrize("talk", ENDLESS.values(), ids=ENDLESS)
async def test_p11_a_body_that_never_ends_is_given_up_when_the_time_is_up_and_the_receiver_has_accepted(talk):
    async with Server(talk) as server, sender() as out:
        attempt, took_s = await timed(out, delivery(timeout_s=0.3), to(server.url))
        await asyncio.wait_for(server.closed.wait(), 5)
    assert (attempt.outcome, attempt.status) == ("delivered", 200)
    assert attempt.error == "the answer's body did not end in time"
    assert took_s < 0.3 + LATE_S


async def test_p11_a_name_server_and_a_tls_handshake_that_hang_end_when_the_time_is_up_and_stop_nobody_else():
    asked = asyncio.Event()

    async def lookup(host):
        if host == "hangs.example":
            asked.set()
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    async with answering(OK) as server, Server(silence) as mute, sender(lookup=lookup) as out:
        hanging = [
            asyncio.create_task(timed(out, delivery(timeout_s=0.5), to(url)))
            for url in ("http://hangs.example", f"https://mute.example:{mute.port}")
        ]
        await asked.wait()
        assert (await out.send(delivery(), to(f"http://works.example:{server.port}"))).outcome == "delivered"
        assert not any(one.done() for one in hanging)
        for attempt, took_s in await asyncio.gather(*hanging):
            assert attempt.error == "no answer within 0.5 s"
            assert took_s < 0.5 + LATE_S


async def test_p11_the_place_of_an_attempt_that_hung_is_free_for_the_next():
    drip, outbox = dripping(b"HTTP/1.1 200 OK\r\nX: "), Outbox()

    async def talk(server, reader, writer):
        if server.connections == 1:
            await drip(server, reader, writer)
        await server.read_request(reader)
        writer.write(OK)
        await writer.drain()

    await owe(outbox, [delivery(id=f"d{n}", owed_at=wall_clock(), timeout_s=0.3) for n in range(2)])
    async with Server(talk) as server, sender() as out:
        only_one = integration(baseUrl=server.url, limits={"concurrency": 1})
        async with working(outbox, out, [only_one]):
            await outbox.until(lambda: outbox.calls["ack"] > 0 and outbox.calls["nack"] > 0)
    assert len(server.requests) == 2


async def test_p11_a_flood_of_short_answers_leaves_the_event_loop_to_the_others():
    """A flood costs each turn of the event loop what a receive buffer holds, and no more."""
    flood = flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    async with Server(flood) as server, answering(OK) as other, sender() as out:
        flooded = asyncio.create_task(out.send(delivery(timeout_s=1.5), to(server.url)))
        served = 0
        while not flooded.done():
            assert (await out.send(delivery(), to(other.url))).outcome == "delivered"
            served += 1
    # Without the limit it is about ten.
    assert served > 25


# --- P12, P13: size

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GIANTS = {
    "a length of 10^12": flooding(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"),
    "no length": flooding(b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks of 10 GB": flooding(CHUNKED, b"10000\r\n" + PIECE + b"\r\n", 160_000),
    "a chunk of 10^18": flooding(CHUNKED + b"fffffffffffffff\r\n"),
    "a million chunks of a byte": flooding(CHUNKED, b"1\r\na\r\n" * 10_000, 100),
}


@pytest.mark.parametrize("talk", GIANTS.values(), ids=GIANTS)
async def test_p12_a_giant_body_is_cut_off_in_little_memory_and_its_connection_closed(talk):
    owed = delivery(logs_response=True, capture=Capture({"v": "a"}))
    async with Server(talk) as server, answering(OK) as other, sender() as out:
        await out.send(owed, to(other.url))
        async with growth() as grown:
            attempt, took_s = await timed(out, owed, to(server.url))
            await asyncio.wait_for(server.closed.wait(), 5)
        assert (await out.send(owed, to(server.url))).outcome == "delivered"
    assert (attempt.outcome, attempt.status, attempt.variables) == ("delivered", 200, {"v": None})
    assert attempt.error == "the answer is too large, so nothing was taken out of it"
    assert attempt.response_bytes == MAX_RESPONSE_BYTES
    assert len(attempt.response_body) <= MOST_OF_BODY
    assert server.connections == 2
    assert grown[0] < MOST_GROWTH
    assert took_s < LATE_S


HEADS = {
    "5 MB of headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1000 + b"\r\n", 5000),
    "a million headers": (b"HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 10_000, 100),
    "a header of 5 MB": (b"HTTP/1.1 200 OK\r\nX: ", PIECE, 80),
    "a header's name of 5 MB": (b"HTTP/1.1 200 OK\r\n", PIECE, 80),
    "a folded header": (b"HTTP/1.1 200 OK\r\nX: a\r\n", b" a\r\n" * 10_000, 100),
    "a reason of 5 MB": (b"HTTP/1.1 200 ", PIECE, 80),
    "a status of 5 MB": (b"HTTP/1.1 ", b"2" * 65536, 80),
    "hints with a million headers": (b"HTTP/1.1 103 Early Hints\r\n", b"a:b\r\n" * 10_000, 100),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", PIECE, 80),
    "zeros": (b"", bytes(65536), 80),
    "a length that is none": (b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n", PIECE, 1),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"ok", 1),
    "a status of four digits": (b"HTTP/1.1 9999 What\r\n\r\n", PIECE, 1),
}


@pytest.mark.parametrize(("head", "piece", "times"), HEADS.values(), ids=HEADS)
async def test_p12_a_head_without_measure_is_no_http_and_takes_little_memory(head, piece, times):
    async with Server(flooding(head, piece, times, b"\r\n\r\n")) as server, answering(OK) as other, sender() as out:
        await out.send(delivery(), to(other.url))
        async with growth() as grown:
            attempt, took_s = await timed(out, delivery(), to(server.url))
    assert (attempt.outcome, attempt.error) == ("retry", "the answer is no valid HTTP")
    assert grown[0] < MOST_GROWTH
    assert took_s < LATE_S


@pytest.mark.parametrize("trailer", [b"a:b\r\n" * 10_000, b"X-A: " + b"a" * 1000 + b"\r\n"])
async def test_p12_a_million_trailers_take_little_memory(trailer):
    async with (
        Server(flooding(CHUNKED + b"1\r\na\r\n0\r\n", trailer, 10**7 // len(trailer))) as server,
        sender() as out,
        growth() as grown,
    ):
        attempt, took_s = await timed(out, delivery(), to(server.url))
    assert (attempt.outcome, attempt.error) == ("delivered", "the answer's body broke off")
    assert grown[0] < MOST_GROWTH
    assert took_s < LATE_S


async def test_p12_a_body_of_just_the_limit_keeps_the_connection():
    async with answering(answer(200, b"a" * MAX_RESPONSE_BYTES)) as server, sender() as out:
        for _ in range(2):
            assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert server.connections == 1


def _zstd(size: int) -> bytes:
    """A frame of zstd that unpacks to ``size`` zeros: blocks of one byte each, repeated 128 Ki times."""
    blocks = size >> 17
    return b"\x28\xb5\x2f\xfd\0\x38" + b"".join(
        ((1 << 20) | 2 | (number == blocks)).to_bytes(3, "little") + b"\0" for number in range(1, blocks + 1)
    )


def _deflate(size: int) -> bytes:
    """A raw deflate stream that unpacks to ``size`` zeros: one block of a megabyte, again and again."""
    pack = zlib.compressobj(9, wbits=-15)
    return (pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)) * (size >> 20) + b"\x03\0"


#: A GB of zeros, packed by brotli and that by zlib.
_BROTLI = zlib.decompress(
    b64decode(
        "eNo7/f+/PYMKw6ONDkXv///4/5+9gcVBRqzh3V/5////M0xg6DjMdGHv/8f//8szCDEURjDs+l7/5/9/ZgcmBT5uh+//+v//r2fwYDiSyPji3v+P///z"
        "M3A2WOgw3P1t/+//f0YFRoF21gXV/49DLdnAUDJqyaglo5aMWjJqyfC0xBwAxBQ9aA=="
    )
)
GB = 2**30
BOMBS = {
    "gzip": ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + _deflate(GB)),
    "gzip that is read whole": ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + _deflate(2**24)),
    "deflate": ("deflate", b"\x78\xda" + _deflate(GB)),
    "br": ("br", _BROTLI),
    "zstd": ("zstd", _zstd(GB)),
    "gzip twice": ("gzip, gzip", gzip.compress(b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + _deflate(GB))),
    "gzip unannounced": ("identity", b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + _deflate(GB)),
}


@pytest.mark.parametrize(("encoding", "bomb"), BOMBS.values(), ids=BOMBS)
async def test_p13_a_bomb_is_not_unpacked(encoding, bomb):
    owed = delivery(logs_response=True, capture=Capture({"v": "$..a"}))
    packed = answer(200, bomb, Content_Encoding=encoding, Content_Type="application/json")
    async with answering(packed) as server, answering(OK) as other, sender() as out:
        await out.send(owed, to(other.url))
        async with growth() as grown:
            attempt, took_s = await timed(out, owed, to(server.url))
    assert (attempt.outcome, attempt.variables) == ("delivered", {"v": None})
    assert attempt.response_bytes == min(len(bomb), MAX_RESPONSE_BYTES)
    assert b"\r\naccept-encoding: identity\r\n" in server.requests[0].lower()
    assert grown[0] < MOST_GROWTH
    assert took_s < LATE_S


def test_the_bombs_are_some():
    for name, wbits in (("gzip", 31), ("deflate", 15)):
        unpack = zlib.decompressobj(wbits)
        assert len(unpack.decompress(BOMBS[name][1][:30_000], 2**24)) == 2**24
    assert len(gzip.decompress(BOMBS["gzip twice"][1])) < 2**21
    assert len(BOMBS["br"][1]) < 2000


# --- P14: one verdict, by the status line

BEHIND_200 = {
    "a reset in the body": (breaking_off(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), 200, True),
    "a reset in a chunk": (breaking_off(CHUNKED + b"64\r\nhalf"), 200, True),
    "a body that is no chunks": (flooding(CHUNKED, b"", 0, b""), 200, True),
    "no body and 204": (flooding(b"HTTP/1.1 204 No Content\r\n\r\n", b"", 0), 204, False),
    "299": (flooding(answer(299, b"\xff\0garbage"), b"", 0), 299, False),
    "garbage as JSON": (flooding(answer(200, b'{"a":', Content_Type="application/json"), b"", 0), 200, False),
    "204 with a body": (flooding(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", b"", 0), 204, False),
    "more than its length": (flooding(OK + b"HTTP/1.1 500 \0", b"", 0), 200, False),
    "no chunks": (flooding(CHUNKED + b"what?\r\n", b"", 0), 200, True),
    "a trailer that is none": (flooding(CHUNKED + b"1\r\na\r\n0\r\n\0\r\n\r\n", b"", 0), 200, True),
    "1xx before it": (flooding(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK, b"", 0), 200, False),
}


@pytest.mark.parametrize(("talk", "status", "is_noted"), BEHIND_200.values(), ids=BEHIND_200)
async def test_p14_the_status_line_alone_decides_once_and_what_broke_off_is_noted(talk, status, is_noted):
    async with Server(talk) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=0.5), to(server.url))
    assert (attempt.outcome, attempt.status, len(server.requests)) == ("delivered", status, 1)
    assert (attempt.error is not None) == is_noted


@pytest.mark.parametrize("unasked", [answer(408), answer(202), b"noise"])
async def test_p14_what_came_on_an_idle_connection_is_no_answer_to_the_next_request(unasked):
    """Servers say 408 before they close what was idle; a hostile one could answer in advance."""
    told, may_tell = asyncio.Event(), asyncio.Event()

    async def talk(server, reader, writer):
        await server.read_request(reader)
        writer.write(OK)
        await may_tell.wait()
        if server.connections == 1:
            writer.write(unasked)
            await writer.drain()
            told.set()
            await server.read_request(reader)

    async with Server(talk) as server, sender() as out:
        assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
        may_tell.set()
        await told.wait()
        for _ in range(20):  # on loopback it is there at once; we only have to read it
            await asyncio.sleep(0)
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.status, server.connections, len(server.requests)) == ("delivered", 200, 2, 2)
