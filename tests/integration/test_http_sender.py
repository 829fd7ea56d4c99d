"""HttpSender against real sockets: friendly receivers and hostile ones."""

import asyncio
import gzip
import logging
import ssl
import subprocess
import time
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import MAX_RESPONSE_BYTES, HttpSender
from actionmap.deliver.request import environment_secrets
from actionmap.delivery import Delivery
from actionmap.demo.receiver import Receiver

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
SECRET = "MOST-secret-0815"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def delivery(**given):
    return Delivery(**{
        "id": "am1_x", "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "v", "event_id": "e",
        "at": 1, "owed_at": 1, "method": "POST", "target": "/hook",
        "headers": {"Content-Type": "application/json"}, "body": "{}",
        "timeout_s": 5.0, **given,
    })  # fmt: skip


def to(base_url, **given):
    return Integration.model_validate({"name": "crm", "baseUrl": base_url, **given})


def sender(*, hosts=(), networks=LOOPBACK, **given):
    secrets = environment_secrets({"ACTIONMAP_SECRET_A": SECRET, "ACTIONMAP_SECRET_KEY": KEY})
    return HttpSender(EgressGuard(hosts, networks), secrets, clock=lambda: time.time_ns() // 1_000_000, **given)


class Raw:
    """A server that writes bytes by hand; counts connections and keeps what each sent first."""

    def __init__(self, talk, **given):
        self._talk = talk
        self._given = given
        self.requests = []
        self.connections = 0
        #: Set when the other side has closed a connection.
        self.closed = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **self._given)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def read_request(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.requests.append(head + await reader.readexactly(length))

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            await self._talk(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            writer.close()


def answering(answer):
    async def talk(server, reader, writer):
        while True:
            await server.read_request(reader)
            writer.write(answer)
            await writer.drain()

    return Raw(talk)


async def test_a_delivery_arrives_as_rendered_with_its_id_and_a_signature_that_verifies():
    signing = {"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_KEY}"}
    async with Receiver({"/hook": ("standardWebhooks", KEY)}) as receiver, sender() as out:
        attempt = await out.send(delivery(body='{"n":"Zoë"}', target="/hook?v=%20"), to(receiver.url, signing=signing))
        (received,) = await receiver.wait_for(1)
    assert (attempt.outcome, attempt.status, attempt.error) == ("delivered", 200, None)
    assert attempt.duration_s > 0
    assert (received.method, received.path, received.body) == ("POST", "/hook?v=%20", '{"n":"Zoë"}'.encode())
    assert received.headers["idempotency-key"] == received.headers["webhook-id"] == "am1_x"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["user-agent"].startswith("actionmap/")


async def test_an_unsigned_or_wrongly_signed_request_is_answered_401_by_the_receiver():
    async with Receiver({"/hook": ("xHubSignature256", "other")}) as receiver, sender() as out:
        for signing in ({"scheme": "none"}, {"scheme": "xHubSignature256", "secret": "${ACTIONMAP_SECRET_A}"}):
            attempt = await out.send(delivery(), to(receiver.url, signing=signing))
            assert (attempt.outcome, attempt.status) == ("retry", 401)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("body", [None, "{}"])
async def test_every_method_arrives_with_and_without_a_body(method, body):
    async with Receiver() as receiver, sender() as out:
        attempt = await out.send(delivery(method=method, body=body), to(receiver.url))
        (received,) = receiver.requests
    assert attempt.outcome == "delivered", attempt
    assert (received.method, received.body) == (method, (body or "").encode())


async def test_a_header_beyond_ascii_arrives_as_utf8():
    async with answering(OK) as server, sender() as out:
        await out.send(delivery(headers={"X-Source": "Köln"}), to(server.url))
    assert "\r\nx-source: Köln\r\n".encode() in server.requests[0]


async def test_connections_are_kept_and_used_again():
    async with answering(OK) as server, sender() as out:
        for _ in range(5):
            assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_cookies_are_not_kept():
    async with answering(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n")) as server, sender() as out:
        for _ in range(2):
            await out.send(delivery(), to(server.url))
    assert b"cookie" not in server.requests[1].lower()


async def test_proxies_from_the_environment_are_ignored(monkeypatch):
    async with answering(OK) as server, answering(OK) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with sender() as out:
            assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert proxy.connections == 0


# --- time


async def drip_headers(server, reader, writer):
    await server.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not reader.at_eof():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(server, reader, writer):
    await server.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless_continue(server, reader, writer):
    await server.read_request(reader)
    while not reader.at_eof():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def silence(_server, reader, _writer):
    await reader.read()


@pytest.mark.parametrize("talk", [drip_headers, endless_continue, silence])
async def test_an_answer_that_does_not_come_ends_at_the_total_timeout(talk):
    async with Raw(talk) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=0.3), to(server.url))
        await asyncio.wait_for(server.closed.wait(), 2)
    assert (attempt.outcome, attempt.status, attempt.error) == ("retry", None, "no answer within 0.3 s")
    assert 0.25 <= attempt.duration_s < 0.8


async def test_a_slow_body_ends_at_the_total_timeout():
    async with Raw(drip_body) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=0.3), to(server.url))
        await asyncio.wait_for(server.closed.wait(), 2)
    # The status line had come: the receiver has it, and is not sent it again.
    assert (attempt.outcome, attempt.status) == ("delivered", 200)
    assert "did not end in time" in attempt.error
    assert attempt.duration_s < 0.8


async def test_a_name_server_that_hangs_ends_at_the_total_timeout_and_stops_nobody_else():
    asked = asyncio.Event()

    async def lookup(host):
        if host == "hangs.example":
            asked.set()
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    async with answering(OK) as server, sender(hosts={"hangs.example", "works.example"}, lookup=lookup) as out:
        hanging = asyncio.create_task(out.send(delivery(timeout_s=0.3), to("http://hangs.example")))
        await asked.wait()
        works = await out.send(delivery(), to(f"http://works.example:{server.port}"))
        assert (await hanging).error == "no answer within 0.3 s"
    assert works.outcome == "delivered"


async def test_a_tls_handshake_that_stalls_ends_at_the_total_timeout():
    async with Raw(silence) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=0.3), to(server.url.replace("http", "https")))
    assert (attempt.outcome, attempt.error) == ("retry", "no answer within 0.3 s")


# --- size


async def huge_body(server, reader, writer):
    await server.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    server.sent = 0
    while True:
        writer.write(b"a" * 65536)
        await writer.drain()
        server.sent += 65536


async def test_a_huge_body_is_cut_off_and_its_connection_closed():
    async with Raw(huge_body) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
        await asyncio.wait_for(server.closed.wait(), 5)
        assert (attempt.outcome, attempt.status) == ("delivered", 200)
        assert attempt.duration_s < 1
        # What the kernel's buffers swallow, not what we read.
        assert server.sent < 16 * 1024 * 1024
        assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert server.connections == 2


async def test_a_body_of_just_the_limit_keeps_the_connection():
    body = b"a" * MAX_RESPONSE_BYTES
    async with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as server,
        sender() as out,
    ):
        for _ in range(2):
            assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert server.connections == 1


async def test_a_compression_bomb_is_not_unpacked():
    bomb = gzip.compress(bytes(10_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with answering(head + bomb[:15_000] + bomb[15_000:]) as server, sender() as out:
        started = time.process_time()
        attempt = await out.send(delivery(), to(server.url))
        assert time.process_time() - started < 0.5
    assert attempt.outcome == "delivered"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(5000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 9999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n",
        b"\x00" * 1000 + b"\r\n\r\n",
    ],
    ids=["many-headers", "huge-header", "huge-reason", "ssh", "status", "length", "zeros"],
)
async def test_an_answer_that_is_no_http_is_a_failed_attempt(answer):
    async with answering(answer) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=2), to(server.url))
    assert attempt.outcome == "retry", attempt
    assert attempt.error in ("the answer is no valid HTTP", "the connection broke off before an answer")


# --- statuses


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (200, "delivered", None), (204, "delivered", None), (299, "delivered", None),
        (400, "retry", "status 400 Bad Request"), (401, "retry", "auth"), (410, "dead", "gone for good"),
        (429, "retry", "429"), (500, "retry", "500"), (599, "retry", "status 599"),
    ],
)  # fmt: skip
async def test_the_status_decides(status, outcome, words):
    async with (
        answering(b"HTTP/1.1 %d Whatever secret\r\nContent-Length: 0\r\n\r\n" % status) as server,
        sender() as out,
    ):
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.status) == (outcome, status)
    assert attempt.error is None if words is None else words in attempt.error
    assert "Whatever" not in str(attempt.error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status):
    async with answering(OK) as canary:
        answer = b"HTTP/1.1 %d Found\r\nLocation: %s/%s?k=1\r\nContent-Length: 0\r\n\r\n"
        async with answering(answer % (status, canary.url.encode(), SECRET.encode())) as server, sender() as out:
            attempt = await out.send(delivery(), to(server.url))
    assert canary.connections == 0
    assert (attempt.outcome, attempt.status) == ("dead", status)
    assert "(to http://127.0.0.1)" in attempt.error
    assert SECRET not in attempt.error


@pytest.mark.parametrize("location", [b"http://[::", b"\xff\xfe", b"/relative", b"x" * 5000, b""])
async def test_a_nonsense_location_is_harmless(location):
    answer = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert attempt.outcome == "dead"
    assert len(attempt.error) < 200


async def test_retry_after_is_handed_on():
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer) as server, sender() as out:
        assert (await out.send(delivery(), to(server.url))).retry_after_s == 17


async def test_a_success_is_decided_by_the_status_line_even_when_the_body_breaks_off():
    async def talk(server, reader, writer):
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async with Raw(talk) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.error) == ("delivered", "the answer's body broke off")
    assert len(server.requests) == 1


# --- connections


async def hang_up(server, reader, writer):
    await server.read_request(reader)


async def reset(server, reader, writer):
    await server.read_request(reader)
    writer.transport.abort()


@pytest.mark.parametrize("talk", [hang_up, reset])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_a_fresh_connection_that_breaks_off_is_one_failed_attempt(talk, method):
    async with Raw(talk) as server, sender() as out:
        attempt = await out.send(delivery(method=method), to(server.url))
    assert (attempt.outcome, attempt.error) == ("retry", "the connection broke off before an answer")
    assert len(server.requests) == 1


async def test_a_kept_connection_that_turns_out_dead_is_replaced_at_once():
    async def talk(server, reader, writer):
        await server.read_request(reader)
        writer.write(OK)
        # The next request on this connection meets a receiver that has just closed it.
        await server.read_request(reader)
        writer.transport.abort()

    async with Raw(talk) as server, sender() as out:
        for _ in range(2):
            assert (await out.send(delivery(), to(server.url))).outcome == "delivered"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_closed_port_is_a_failed_attempt_with_a_reason():
    async with answering(OK) as server:
        pass
    async with sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert attempt.outcome == "retry"
    assert attempt.error.startswith("no connection: Connection refused") or "no connection" in attempt.error


async def test_a_name_that_does_not_resolve_is_a_failed_attempt():
    async def lookup(_host):
        raise OSError("NXDOMAIN")

    async with sender(lookup=lookup) as out:
        attempt = await out.send(delivery(), to("https://gone.example"))
    assert (attempt.outcome, attempt.error) == ("retry", "the host name does not resolve")


# --- egress


async def test_a_literal_inward_address_is_blocked_before_any_packet():
    async with answering(OK) as server, sender(networks=()) as out:
        for url in (server.url, server.url.replace("http", "https"), f"https://[::ffff:127.0.0.1]:{server.port}"):
            attempt = await out.send(delivery(), to(url))
            assert attempt.outcome == "dead"
            assert "ACTIONMAP_EGRESS_ALLOW" in attempt.error
    assert server.connections == 0


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["64:ff9b::7f00:1"], ["::ffff:127.0.0.1"]]
)
async def test_a_name_that_leads_inward_is_blocked_before_any_packet(addresses):
    async def lookup(_host):
        return addresses

    async with answering(OK) as server, sender(networks=(), lookup=lookup) as out:
        attempt = await out.send(delivery(), to(f"https://innocent.example:{server.port}"))
    assert attempt.outcome == "dead"
    assert attempt.error.startswith("blocked: innocent.example resolves to")
    assert server.connections == 0


async def test_a_name_that_changes_its_address_is_vetted_at_each_new_connection():
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked = []

    async def lookup(host):
        asked.append(host)
        return answers[len(asked) - 1]

    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with answering(closing) as server, sender(lookup=lookup) as out:
        where = to(f"http://rebinding.example:{server.port}")
        assert (await out.send(delivery(), where)).outcome == "delivered"
        assert (await out.send(delivery(), where)).outcome == "dead"
    assert (len(asked), server.connections) == (2, 1)


async def test_plain_http_to_a_name_is_decided_by_the_address_it_has():
    async def lookup(host):
        return {"inside.example": ["127.0.0.1"], "outside.example": ["8.8.8.8"]}[host]

    async with answering(OK) as server, sender(lookup=lookup) as out:
        inside = await out.send(delivery(), to(f"http://inside.example:{server.port}"))
        outside = await out.send(delivery(), to("http://outside.example"))
    assert inside.outcome == "delivered"
    assert (outside.outcome, "plain http" in outside.error) == ("dead", True)


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for hook.example, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=hook.example", "-addext", "subjectAltName=DNS:hook.example"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run(command + subject, check=True, capture_output=True)
    return key, cert


@asynccontextmanager
async def tls_server(certificate):
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    names = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = answering(OK)
    server._given["ssl"] = context
    async with server:
        server.names = names
        yield server


async def _loopback(_host):
    return ["127.0.0.1"]


async def test_a_certificate_that_nobody_signed_is_refused(certificate):
    async with tls_server(certificate) as server, sender(lookup=_loopback) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert attempt.outcome == "retry"
    assert attempt.error == "the TLS certificate is refused: self-signed certificate"
    assert server.requests == []


async def test_the_name_is_checked_although_the_address_is_pinned(certificate):
    context = ssl.create_default_context(cafile=certificate[1])
    async with tls_server(certificate) as server, sender(lookup=_loopback, ssl_context=context) as out:
        right = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
        wrong = await out.send(delivery(), to(f"https://other.example:{server.port}"))
    assert (right.outcome, server.names) == ("delivered", ["hook.example", "other.example"])
    assert (wrong.outcome, "TLS certificate is refused" in wrong.error) == ("retry", True)
    assert len(server.requests) == 1


async def test_https_to_a_port_that_speaks_no_tls_is_a_failed_attempt():
    async def plain(_server, reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(10)

    async with Raw(plain) as server, sender(lookup=_loopback) as out:
        attempt = await out.send(delivery(), to(f"https://hook.example:{server.port}"))
    assert attempt.outcome == "retry"
    assert "TLS" in attempt.error or "broke off" in attempt.error or "no connection" in attempt.error


# --- secrets


async def test_a_missing_secret_is_named_and_the_delivery_is_kept():
    auth = {"type": "bearer", "token": "${ACTIONMAP_SECRET_GONE}"}
    async with answering(OK) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url, auth=auth))
    assert (attempt.outcome, server.connections) == ("retry", 0)
    assert "ACTIONMAP_SECRET_GONE" in attempt.error


async def test_a_header_that_cannot_be_sent_is_terminal():
    async with answering(OK) as server, sender() as out:
        attempt = await out.send(delivery(headers={"X-A": "1\r\nX-Evil: 1"}), to(server.url))
    assert (attempt.outcome, server.connections) == ("dead", 0)


async def test_no_secret_shows_in_any_error_or_log(caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    auth = {"type": "bearer", "token": "${ACTIONMAP_SECRET_A}"}
    echo = (
        f"HTTP/1.1 500 {SECRET}\r\nRetry-After: {SECRET}\r\nX: {SECRET}\r\nContent-Length: 16\r\n\r\n{SECRET}".encode()
    )
    seen = []
    for server in (answering(echo), answering(SECRET.encode() + b"\r\n\r\n"), Raw(reset), Raw(hang_up), Raw(silence)):
        async with server, sender() as out:
            seen.append(await out.send(delivery(timeout_s=0.3), to(server.url, auth=auth)))
    assert SECRET not in repr(seen)
    assert SECRET not in caplog.text


async def test_an_https_url_with_an_impossible_name_is_terminal_or_a_failure_never_a_crash():
    async with sender() as out:
        for url in ("https://" + "a" * 64 + ".example", "https://a..example", "https://-.example"):
            assert (await out.send(delivery(), to(url))).outcome in ("dead", "retry")
