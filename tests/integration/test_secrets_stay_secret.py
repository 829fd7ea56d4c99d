"""Every secret has a marker, every error path is forced, everything is logged: no marker is seen anywhere."""

import asyncio
import logging
import time
import traceback
from base64 import b64encode
from ipaddress import ip_network

import pytest
import structlog

from actionmap.catalog.documents import read_documents
from actionmap.catalog.models import Integration
from actionmap.catalog.parse import parse_documents
from actionmap.deliver.credentials import AttemptSecrets, environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.deliver.request import build_request
from actionmap.delivery import Capture, Delivery, encode
from actionmap.errors import DefinitionError
from actionmap.settings import load_settings
from actionmap.telemetry import Metrics, configure_logging
from actionmap.vault import Vault, new_key
from secret_places import MARKERS, TellTale, found, secret
from support import definitions

VAULT = Vault(new_key())
ENVIRON = {
    "ACTIONMAP_SECRET_A": secret(),
    "ACTIONMAP_SECRET_CLIENT": secret(),
    "ACTIONMAP_SECRET_CONTROL": secret("{}\r\nX-Evil: 1"),
    "ACTIONMAP_SECRET_HALF": secret("{}\udc80"),
    "ACTIONMAP_SECRET_NO_BASE64": secret("whsec_!{}"),
    "ACTIONMAP_SECRET_NO_KEY": "whsk_" + b64encode(secret("{}").encode()).decode(),
    "ACTIONMAP_SECRET_COLON": secret("{}:x"),
}
A = "${ACTIONMAP_SECRET_A}"
STORED = VAULT.seal(secret())
LOST = Vault(new_key()).seal(secret())
UNUSABLE = ("${ACTIONMAP_SECRET_CONTROL}", "${ACTIONMAP_SECRET_HALF}", "${ACTIONMAP_SECRET_GONE}", LOST)


def oauth(url, text, **more):
    return {"type": "oauth2ClientCredentials", "tokenUrl": url, "clientId": "${ACTIONMAP_SECRET_CLIENT}",
            "clientSecret": text, **more}  # fmt: skip


def auths(url, text):
    """Each kind of authentication with the secret ``text``."""
    return [
        {"type": "basic", "username": "${ACTIONMAP_SECRET_CLIENT}", "password": text},
        {"type": "basic", "username": "${ACTIONMAP_SECRET_COLON}", "password": text},
        {"type": "bearer", "token": text},
        {"type": "apiKey", "header": "X-Key", "value": text},
        oauth(f"{url}/give", text),
        oauth(f"{url}/token", text),
        oauth(f"{url}/token", text, clientAuthentication="body"),
        oauth(f"{url}/status/500/token", text),
        oauth("http://127.0.0.1:1/token", text),
        oauth("http://10.0.0.1/token", text),
        oauth(f"https{url[4:]}/token", text),
    ]


def signings(text):
    return [
        {"scheme": "standardWebhooks", "secret": text},
        {"scheme": "standardWebhooks", "secrets": [A, text]},
        {"scheme": "xHubSignature256", "secret": text, "header": "X-Key"},
    ]


def integrations(url):
    """Every kind of authentication and signature with every kind of secret, to receivers that fail in every way."""
    everywhere = [url, f"{url}/status/307", f"{url}/status/400", f"{url}/status/503"]
    failing = ["http://127.0.0.1:1", "http://10.0.0.1", f"https{url[4:]}", "http://nowhere.invalid"]
    for text in (A, STORED, *UNUSABLE):
        for auth in auths(url, text):
            yield url, {"auth": auth}
        for signing in signings(text):
            yield url, {"auth": {"type": "bearer", "token": A}, "signing": signing}
    for base_url in (*everywhere, *failing):
        for auth in auths(url, A):
            yield base_url, {"auth": auth, "signing": {"scheme": "xHubSignature", "secret": STORED}}
    for name in ("NO_BASE64", "NO_KEY"):
        yield url, {"signing": {"scheme": "standardWebhooks", "secret": f"${{ACTIONMAP_SECRET_{name}}}"}}


def delivery(**given):
    return Delivery(**{
        "id": "am1_x", "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "v", "event_id": "e",
        "at": 1, "owed_at": 1, "method": "POST", "target": "/hook", "headers": {}, "body": "{}", "timeout_s": 2.0,
        **given,
    })  # fmt: skip


@pytest.fixture
def logged(caplog, capfd):
    """Everything that anybody logs, ours and the libraries', at DEBUG."""
    configure_logging("debug", "json")
    names = ("", "httpx", "httpcore", "aiohttp", "aiohttp.client", "asyncio", "actionmap")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)

    def read():
        out, err = capfd.readouterr()
        return [caplog.text, out, err]

    yield read
    # What it writes to is closed with this test.
    structlog.reset_defaults()
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def test_the_markers_are_found_where_they_are():
    for text in (MARKERS[3], f"x{MARKERS[3].upper()}y", b64encode(f"me:{MARKERS[3]}+/".encode()).decode(),
                 b64encode(f"{MARKERS[3]}".encode()).decode(), b"\xff" + MARKERS[3].encode()):  # fmt: skip
        assert found([text]), text
    assert found(["mark er", STORED, LOST]) == []


async def test_no_attempt_however_it_fails_shows_a_secret(logged):
    asyncio.get_running_loop().set_debug(True)
    guard, seen, outcomes = EgressGuard((), [ip_network("127.0.0.0/8")]), [], set()
    async with TellTale() as receiver:
        async with HttpSender(guard, environment_secrets(ENVIRON, VAULT), clock=lambda: time.time_ns() // 10**6) as out:
            for number, (base_url, more) in enumerate(integrations(receiver.url)):
                written = {"name": f"crm{number}", "baseUrl": base_url, **more}
                integration = Integration.model_validate(written)
                for owed in (delivery(), delivery(target="/../x"), delivery(target="/status/200/x")):
                    attempt = await out.send(owed, integration)
                    outcomes.add((attempt.outcome, attempt.status))
                    seen += [repr(attempt), encode(owed), repr(integration), str(integration), repr(out)]
        assert receiver.requests > 100
    assert {outcome for outcome, _ in outcomes} == {"delivered", "retry", "dead"}
    assert {status for _, status in outcomes} >= {None, 200, 307, 400, 401, 503}
    assert found([*seen, *logged()]) == []


async def test_a_receiver_that_tells_a_secret_in_what_becomes_a_trait_gets_it_masked():
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    owed = delivery(target="/status/200/x", capture=Capture({"a": "error"}, {"b": "headers"}))
    async with TellTale() as receiver:
        integration = Integration.model_validate(
            {"name": "crm", "baseUrl": receiver.url, "auth": {"type": "bearer", "token": A}}
        )
        async with HttpSender(guard, environment_secrets(ENVIRON), clock=lambda: 0) as out:
            attempt = await out.send(owed, integration)
    assert attempt.variables == {"a": "Bearer ********"}
    assert found([repr(attempt)]) == []


@pytest.mark.parametrize("text", [A, STORED, *UNUSABLE, "${ACTIONMAP_SECRET_NO_BASE64}", "${ACTIONMAP_SECRET_NO_KEY}"])
def test_neither_a_request_nor_what_goes_wrong_with_it_shows_a_secret(text, logged):
    secrets = AttemptSecrets(environment_secrets(ENVIRON, VAULT))
    seen = [repr(secrets)]
    for more in ([{"auth": auth} for auth in auths("http://127.0.0.1", text)]
                 + [{"signing": signing} for signing in signings(text)]):  # fmt: skip
        integration = Integration.model_validate({"name": "crm", "baseUrl": "https://crm.example.com", **more})
        try:
            request = build_request(delivery(), integration, secrets, timestamp_s=1, access_token=MARKERS[0])
            seen += [repr(request), str(request)]
        except Exception:
            seen.append(traceback.format_exc())
    assert found([*seen, *logged()]) == []


@pytest.mark.parametrize("bad", [
    lambda s: {"auth": {"type": "bearer", "token": s + "\n"}},
    lambda s: {"auth": {"type": "bearer", "token": {"a": s}}},
    lambda s: {"auth": {"type": "bearer", "token": [s]}},
    lambda s: {"auth": {"type": "bearer", "tokn": s}},
    lambda s: {"auth": {"type": "basic", "password": s}},
    lambda s: {"auth": {"type": "apiKey", "header": "X Y", "value": s}},
    lambda s: {"auth": s},
    lambda s: {"auth": [s]},
    lambda s: {"auth": {"type": "bearer", "token": s, "more": s}},
    lambda s: {"auth": {"type": "bearer", "token": s + "${A}"}},
    lambda s: {"auth": {"type": "bearer", "token": s * 1000}},
    lambda s: {"auth": oauth(f"https://me:{s}@login.example.com", s)},
    lambda s: {"auth": oauth(f"ftp://{s}", s)},
    lambda s: {"auth": oauth("https://login.example.com", s, scope=f"a  {s}")},
    lambda s: {"signing": {"scheme": "standardWebhooks", "secret": f"whsec_!{s}"}},
    lambda s: {"signing": {"scheme": "standardWebhooks", "secret": s, "secrets": [s]}},
    lambda s: {"signing": {"scheme": "none", "secret": s}},
    lambda s: {"signing": {"scheme": "xHubSignature", "secrets": [s] * 11}},
    lambda s: {"signing": s},
    lambda s: {"baseUrl": f"ftp://me:{s}@crm.example.com"},
    lambda s: {"baseUrl": f"https://me:{s}@crm.example.com:port"},
])  # fmt: skip
def test_no_definition_that_is_refused_shows_a_secret(bad):
    with pytest.raises(DefinitionError) as caught:
        definitions([{"kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com", **bad(MARKERS[1])}])
    assert found([str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]) == []


@pytest.mark.parametrize("value", ["*{}", "!{} x", "&{} x", "{}: x", "@{}", "%{}", "{{{}", '"{}', '"\\q{}"', "`{}`"])
def test_no_file_that_cannot_be_read_shows_a_secret(value):
    text = "kind: Integration\nname: crm\nauth: {type: bearer}\npassword: " + value.format(MARKERS[1])
    with pytest.raises(DefinitionError) as caught:
        parse_documents(read_documents(text))
    assert found([str(caught.value)]) == []


def test_neither_settings_nor_metrics_show_a_key():
    key = new_key()
    settings = load_settings(secrets_key=key)
    metrics = Metrics()
    assert not any(key in shown for shown in (repr(settings), str(settings), settings.model_dump_json(),
                                              repr(settings.vault), repr(metrics)))  # fmt: skip
