"""OAuth 2 client credentials over real sockets: one question for many, kept while it lasts, and what goes wrong."""

import asyncio
import gzip
import time
from contextlib import asynccontextmanager
from ipaddress import ip_network

import httpx
import pytest
from aiohttp import web

from actionmap.catalog.models import Integration
from actionmap.deliver.credentials import AttemptSecrets, environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.oauth import MAX_TOKEN_ANSWER, AccessTokens, NoToken, ask_token
from actionmap.delivery import Delivery
from actionmap.demo.receiver import Receiver
from token_server import TokenServer, client_of

CLIENT, SECRET = "the client/1", "s3cret+%&="
ENVIRON = {"ACTIONMAP_SECRET_ID": CLIENT, "ACTIONMAP_SECRET_KEY": SECRET, "ACTIONMAP_SECRET_NL": "s3cret\n"}
LOOPBACK = [ip_network("127.0.0.0/8")]


def sender(networks=LOOPBACK):
    guard = EgressGuard((), networks)
    return HttpSender(guard, environment_secrets(ENVIRON), clock=lambda: time.time_ns() // 1_000_000)


def delivery(number=1, timeout_s=5.0):
    return Delivery(
        id=f"am1_{number}", integration="crm", webhook="w", action_map="m", visitor_id="v", event_id="e", at=1,
        owed_at=1, method="POST", target="/hook", headers={}, body="{}", timeout_s=timeout_s,
    )  # fmt: skip


def to(receiver, tokens, name="crm", **auth):
    url = tokens if isinstance(tokens, str) else tokens.url
    given = {"type": "oauth2ClientCredentials", "tokenUrl": url, "clientId": "${ACTIONMAP_SECRET_ID}",
             "clientSecret": "${ACTIONMAP_SECRET_KEY}", **auth}  # fmt: skip
    return Integration.model_validate({"name": name, "baseUrl": receiver.url or "http://127.0.0.1:1", "auth": given})


def carried(received):
    return [one.headers["authorization"] for one in received]


async def test_a_request_carries_the_token_that_the_client_was_given_for_id_secret_and_scope():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        attempt = await out.send(delivery(), to(receiver, tokens, scope="leads:write leads:read"))
    assert attempt.outcome == "delivered", attempt
    assert carried(receiver.requests) == ["Bearer token-1"]
    ((headers, form),) = tokens.requests
    assert client_of(headers) == (CLIENT, SECRET)
    assert form == {"grant_type": "client_credentials", "scope": "leads:write leads:read"}
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["accept-encoding"] == "identity"


async def test_a_server_that_reads_the_body_only_is_given_id_and_secret_there():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        await out.send(delivery(), to(receiver, tokens, clientAuthentication="body"))
    ((headers, form),) = tokens.requests
    assert "authorization" not in headers
    assert form == {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}


async def test_many_deliveries_at_once_ask_for_one_token():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        tokens.may_answer.clear()
        sending = [asyncio.create_task(out.send(delivery(number), to(receiver, tokens))) for number in range(64)]
        await tokens.asked.wait()
        tokens.may_answer.set()
        attempts = await asyncio.gather(*sending)
        again = await out.send(delivery(65), to(receiver, tokens))
    assert {attempt.outcome for attempt in (*attempts, again)} == {"delivered"}
    assert len(tokens.requests) == 1
    assert carried(receiver.requests) == ["Bearer token-1"] * 65


async def test_a_token_that_the_receiver_refuses_is_replaced_once_for_all_that_carried_it():
    async with TokenServer() as tokens, RefusingReceiver({"Bearer token-1"}) as receiver, sender() as out:
        integration = to(receiver, tokens)
        first = await asyncio.gather(*(out.send(delivery(number), integration) for number in range(16)))
        then = await asyncio.gather(*(out.send(delivery(number), integration) for number in range(16)))
    assert {(attempt.outcome, attempt.status) for attempt in first} == {("retry", 401)}
    assert {attempt.outcome for attempt in then} == {"delivered"}
    assert len(tokens.requests) == 2


async def test_a_server_that_gives_out_a_refused_token_again_is_not_asked_at_every_attempt():
    refusing = RefusingReceiver({"Bearer same"})
    async with TokenServer(access_token="same") as tokens, refusing as receiver, sender() as out:
        for number in range(5):
            assert (await out.send(delivery(number), to(receiver, tokens))).status == 401
    assert len(tokens.requests) == 2


async def test_each_integration_has_its_own_token_and_another_client_another_one():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        for integration in (to(receiver, tokens), to(receiver, tokens, "erp"), to(receiver, tokens, scope="b")):
            await out.send(delivery(), integration)
    assert carried(receiver.requests) == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]


async def test_a_token_endpoint_that_hangs_holds_up_its_own_integration_only_and_no_longer_than_an_attempt():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        tokens.may_answer.clear()
        hanging = asyncio.create_task(out.send(delivery(timeout_s=0.4), to(receiver, tokens)))
        await tokens.asked.wait()
        other = Integration.model_validate({"name": "other", "baseUrl": receiver.url})
        assert (await out.send(delivery(), other)).outcome == "delivered"
        assert not hanging.done()
        attempt = await hanging
        assert (attempt.outcome, attempt.error) == ("retry", "no access token: none within 0.4 s")
        assert attempt.duration_s < 1
        tokens.may_answer.set()
        assert (await out.send(delivery(), to(receiver, tokens))).outcome == "delivered"
    assert len(tokens.requests) == 1, "the question that was under way has been answered"


async def test_a_sender_that_closes_leaves_no_question_under_way():
    async with TokenServer() as tokens, Receiver() as receiver:
        tokens.may_answer.clear()
        async with sender() as out:
            await out.send(delivery(timeout_s=0.1), to(receiver, tokens))
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("token of")] == []


class RefusingReceiver(Receiver):
    """Answers 401 to requests that carry one of some tokens, and echoes what it was sent."""

    def __init__(self, refused):
        super().__init__()
        self._refused = refused

    def _is_genuine(self, path, headers, body):
        return headers["authorization"] not in self._refused


# --- what goes wrong


def text(status, body, **headers):
    return lambda _: web.Response(status=status, body=body, headers=headers)


def echo(status):
    def answer(request):
        said = f'{{"error": "{request.headers["Authorization"]}", "error_description": "{SECRET}"}}'
        return web.Response(status=status, text=said, headers={"Location": f"https://{SECRET}.example.com"})

    return answer


WRONG = {
    "refused": (text(401, b'{"error":"invalid_client"}'), "status 401 (invalid_client); look at clientId"),
    "echoed": (echo(400), "status 400"),
    "redirected": (echo(307), "status 307"),
    "broken": (text(500, b"\xff\x00"), "status 500"),
    "html": (text(200, b"<html>"), "no JSON with an access_token"),
    "empty": (text(200, b""), "no JSON with an access_token"),
    "list": (text(200, b"[1]"), "no JSON with an access_token"),
    "deep": (text(200, b"[" * 16_000), "no JSON with an access_token"),
    "missing": (text(200, b'{"token_type":"bearer"}'), "no JSON with an access_token"),
    "number": (text(200, b'{"access_token":7}'), "no JSON with an access_token"),
    "mac": (text(200, b'{"access_token":"t0ken","token_type":"mac"}'), "no bearer token"),
    "header": (text(200, b'{"access_token":"t0ken\\r\\nX-Evil: 1"}'), "fits into no header"),
    "blank": (text(200, b'{"access_token":""}'), "fits into no header"),
    "bomb": (text(200, gzip.compress(bytes(10_000_000)), **{"Content-Encoding": "gzip"}), "no JSON with an"),
    "flood": (text(200, b'{"access_token":"' + b"a" * 1_000_000), f"more than {MAX_TOKEN_ANSWER // 1024} KB"),
}


@pytest.mark.parametrize(("answer", "says"), WRONG.values(), ids=WRONG)
async def test_a_token_endpoint_that_gives_no_token_makes_the_attempt_a_retry_in_words(answer, says):
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        tokens.answer = answer
        attempt = await out.send(delivery(), to(receiver, tokens))
    assert (attempt.outcome, attempt.status) == ("retry", None)
    assert attempt.error.startswith("no access token: ")
    assert says in attempt.error
    assert not any(secret in attempt.error for secret in (CLIENT, SECRET, "t0ken", "Basic"))
    assert receiver.requests == [], "nothing is sent without credentials"


async def test_a_token_endpoint_may_not_lie_inward():
    async with TokenServer() as tokens, Receiver() as receiver, sender([]) as out:
        attempt = await out.send(delivery(), to(receiver, tokens))
    assert attempt.outcome == "retry"
    assert attempt.error.startswith("no access token: tokenUrl is blocked: ")
    assert tokens.requests == []


async def test_a_token_endpoint_that_is_not_there_is_told():
    async with Receiver() as receiver, sender() as out:
        attempt = await out.send(delivery(), to(receiver, "http://127.0.0.1:1/token"))
    assert (attempt.outcome, attempt.error[:44]) == ("retry", "no access token: the token endpoint: no conn")


async def test_a_client_secret_that_is_unusable_is_named():
    async with TokenServer() as tokens, Receiver() as receiver, sender() as out:
        attempt = await out.send(delivery(), to(receiver, tokens, clientSecret="${ACTIONMAP_SECRET_NL}"))
    assert attempt.outcome == "retry"
    assert "ACTIONMAP_SECRET_NL holds a line end" in attempt.error
    assert tokens.requests == []


# --- how long a token is used


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@asynccontextmanager
async def asking(tokens, clock):
    """Asks for a token of one integration, over real sockets, at the time that ``clock`` tells."""
    auth = to(Receiver(), tokens).auth
    async with httpx.AsyncHTTPTransport() as transport:
        held = AccessTokens(lambda request: ask_token(request, EgressGuard((), LOOPBACK), {"http": transport}), clock)
        yield lambda: held.token("crm", auth, AttemptSecrets(environment_secrets(ENVIRON)))
        await held.close()


@pytest.mark.parametrize(
    ("expires_in", "used_for_s"),
    [(3600, 3540), (120, 60), (60, 30), ("3600", 3540), (None, 300), ("soon", 300), (1e300, 86_400), (0, 0), (-5, 0)],
)
async def test_a_token_is_used_until_shortly_before_it_ends(expires_in, used_for_s):
    clock = Clock()
    async with TokenServer(expires_in=expires_in) as tokens, asking(tokens, clock) as token:
        assert await token() == "token-1"
        if used_for_s:
            clock.now = used_for_s - 0.5
            assert await token() == "token-1"
        clock.now = used_for_s
        assert await token() == "token-2"


async def test_a_token_endpoint_that_failed_is_left_alone_for_a_while():
    clock = Clock()
    async with TokenServer() as tokens, asking(tokens, clock) as token:
        tokens.answer = text(503, b"")
        for _ in range(3):
            with pytest.raises(NoToken):
                await token()
        assert len(tokens.requests) == 1
        clock.now, tokens.answer = 5.0, None
        assert await token() == "token-2"
