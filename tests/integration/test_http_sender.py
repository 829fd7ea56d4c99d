"""HttpSender against real sockets: receivers as they are; hostile ones stand in tests/hostile."""

import logging

import pytest

from actionmap.delivery import Capture
from actionmap.demo.receiver import Receiver
from hostile.sending import KEY, SECRET, delivery, sender, to
from hostile.server import OK, Names, Server, answering, breaking_off, dripping, hang_up, silence


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


HALF_AN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"


@pytest.mark.parametrize(
    ("talk", "why"),
    [
        (breaking_off(HALF_AN_ANSWER + b'{"id": 1'), "the answer's body broke off"),
        (dripping(HALF_AN_ANSWER), "the answer's body did not end in time"),
    ],
)
async def test_an_answer_that_does_not_come_to_its_end_says_so_and_not_that_it_is_too_large(talk, why):
    async with Server(talk) as server, sender() as out:
        asks = delivery(capture=Capture(variables={"id": "$.id"}), timeout_s=0.5)
        attempt = await out.send(asks, to(server.url))
    assert (attempt.outcome, attempt.variables) == ("delivered", {"id": None})
    assert attempt.error == f"{why}, so nothing was taken out of it"


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


# --- connections


@pytest.mark.parametrize("talk", [hang_up, breaking_off(b"")])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_a_fresh_connection_that_breaks_off_is_one_failed_attempt(talk, method):
    async with Server(talk) as server, sender() as out:
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

    async with Server(talk) as server, sender() as out:
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


async def test_plain_http_to_a_name_is_decided_by_the_address_it_has():
    async def lookup(host):
        return {"inside.example": ["127.0.0.1"], "outside.example": ["8.8.8.8"]}[host]

    async with answering(OK) as server, sender(lookup=lookup) as out:
        inside = await out.send(delivery(), to(f"http://inside.example:{server.port}"))
        outside = await out.send(delivery(), to("http://outside.example"))
    assert inside.outcome == "delivered"
    assert (outside.outcome, "plain http" in outside.error) == ("dead", True)


async def test_https_to_a_port_that_speaks_no_tls_is_a_failed_attempt():
    async def plain(_server, reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(10)

    async with Server(plain) as server, sender(lookup=Names(["127.0.0.1"])) as out:
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
    for server in (
        answering(echo),
        answering(SECRET.encode() + b"\r\n\r\n"),
        Server(breaking_off(b"")),
        Server(hang_up),
        Server(silence),
    ):
        async with server, sender() as out:
            seen.append(await out.send(delivery(timeout_s=0.3), to(server.url, auth=auth)))
    assert SECRET not in repr(seen)
    assert SECRET not in caplog.text


async def test_an_https_url_with_an_impossible_name_is_terminal_or_a_failure_never_a_crash():
    async with sender() as out:
        for url in ("https://" + "a" * 64 + ".example", "https://a..example", "https://-.example"):
            assert (await out.send(delivery(), to(url))).outcome in ("dead", "retry")
