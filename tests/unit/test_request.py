"""What one attempt is made of: URL, credentials, signature, and what can never be sent."""

import base64

import httpx
import pytest
import standardwebhooks

from actionmap.catalog.models import Integration, Signing
from actionmap.deliver.credentials import AttemptSecrets, environment_secrets
from actionmap.deliver.request import USER_AGENT, build_request
from actionmap.delivery import Delivery
from actionmap.errors import SettingsError, Unrenderable
from actionmap.vault import Vault, new_key

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VAULT = Vault(new_key())
SECRETS = environment_secrets(
    {
        "ACTIONMAP_SECRET_A": "s3cret",
        "ACTIONMAP_SECRET_KEY": KEY,
        "ACTIONMAP_SECRET_NL": "s3cret\n",
        "ACTIONMAP_SECRET_USER": "from-outside",
        "ACTIONMAP_SECRET_COLON": "a:s3cret",
        "ACTIONMAP_SECRET_HALF": "s3cret\udc80",
        "OTHER": "x",
    },
    VAULT,
)
REFERENCE = "${ACTIONMAP_SECRET_A}"


def integration(base_url="https://crm.example.com/api/", **given):
    return Integration.model_validate({"name": "crm", "baseUrl": base_url, **given})


def delivery(**given):
    return Delivery(**{
        "id": "am1_x", "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "v", "event_id": "e",
        "at": 1, "owed_at": 1, "method": "POST", "target": "/leads?v=2",
        "headers": {"Content-Type": "application/json"},
        "body": '{"name":"Zoë"}', **given,
    })  # fmt: skip


def build(owed=None, to=None, secrets=SECRETS, at=1_700_000_000, **given):
    return build_request(owed or delivery(), to or integration(), AttemptSecrets(secrets), timestamp_s=at, **given)


def test_a_request_carries_url_body_and_the_id_twice():
    request = build()
    assert (request.method, request.url) == ("POST", "https://crm.example.com/api/leads?v=2")
    assert request.body == '{"name":"Zoë"}'.encode()
    assert request.headers == {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        "webhook-id": "am1_x",
        "Idempotency-Key": "am1_x",
    }


def test_the_idempotency_header_can_be_renamed():
    assert build(delivery(idempotency_header="X-Idempotency-Key")).headers["X-Idempotency-Key"] == "am1_x"


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"type": "none"}, {}),
        (
            {"type": "basic", "username": "${ACTIONMAP_SECRET_USER}", "password": REFERENCE},
            {"Authorization": "Basic " + base64.b64encode(b"from-outside:s3cret").decode()},
        ),
        ({"type": "bearer", "token": REFERENCE}, {"Authorization": "Bearer s3cret"}),
        ({"type": "apiKey", "header": "X-Key", "value": REFERENCE}, {"X-Key": "s3cret"}),
        (
            {"type": "basic", "username": "zoë", "password": REFERENCE},
            {"Authorization": "Basic " + base64.b64encode("zoë:s3cret".encode()).decode()},
        ),
    ],
)
def test_each_kind_of_auth_adds_its_header(auth, expected):
    request = build(to=integration(auth=auth))
    assert expected.items() <= request.headers.items()
    assert ("Authorization" in request.headers) == ("Authorization" in expected)


def test_a_definition_cannot_overwrite_credential_or_id_whatever_the_case():
    headers = {
        "authorization": "Bearer mine",
        "IDEMPOTENCY-KEY": "mine",
        "Webhook-Id": "mine",
        "accept-encoding": "gzip",
    }
    request = build(delivery(headers=headers), integration(auth={"type": "bearer", "token": REFERENCE}))
    assert "mine" not in " ".join(request.headers.values())
    assert httpx.Headers(request.headers).get_list("authorization") == ["Bearer s3cret"]
    assert httpx.Headers(request.headers)["accept-encoding"] == "identity"


def test_a_signed_request_verifies_elsewhere(monkeypatch):
    to = integration(signing={"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_KEY}"})
    request = build(to=to)
    monkeypatch.setattr(standardwebhooks.Webhook, "_Webhook__verify_timestamp", lambda *_: None, raising=False)
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["webhook-timestamp"] == "1700000000"
    expected = standardwebhooks.Webhook(KEY)
    from datetime import UTC, datetime

    body = request.body.decode()
    assert headers["webhook-signature"] == expected.sign("am1_x", datetime.fromtimestamp(1_700_000_000, UTC), body)


def test_a_request_without_body_is_signed_over_nothing():
    to = integration(signing={"scheme": "xHubSignature256", "secret": REFERENCE})
    request = build(delivery(body=None, method="GET"), to)
    assert request.body is None
    assert request.headers["X-Hub-Signature-256"].startswith("sha256=")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("${ACTIONMAP_SECRET_GONE}", "ACTIONMAP_SECRET_GONE is not set"),
        ("${ACTIONMAP_SECRET_NL}", "control character"),
        ("${ACTIONMAP_SECRET_HALF}", "no UTF-8"),
        (Vault(new_key()).seal("s3cret"), "not in ACTIONMAP_SECRETS_KEY"),
    ],
)
@pytest.mark.parametrize("where", ["auth", "signing"])
def test_a_secret_that_is_missing_or_unusable_is_named_but_never_shown(reference, says, where):
    part = (
        {"type": "bearer", "token": reference} if where == "auth" else {"scheme": "xHubSignature", "secret": reference}
    )
    with pytest.raises(SettingsError, match=says) as caught:
        build(to=integration(**{where: part}))
    assert "s3cret" not in str(caught.value)


def test_only_names_of_secrets_are_read():
    for reference in ("${OTHER}", "OTHER", "${ACTIONMAP_SECRET_A}x", "$ACTIONMAP_SECRET_A", ""):
        with pytest.raises(SettingsError):
            SECRETS(reference)


def test_a_secret_that_is_stored_is_opened_when_it_is_sent():
    request = build(to=integration(auth={"type": "bearer", "token": VAULT.seal("st0red")}))
    assert request.headers["Authorization"] == "Bearer st0red"


def test_an_access_token_stands_where_a_bearer_token_does():
    auth = {"type": "oauth2ClientCredentials", "tokenUrl": "https://login.example.com", "clientId": "me",
            "clientSecret": REFERENCE}  # fmt: skip
    assert build(to=integration(auth=auth), access_token="t0ken").headers["Authorization"] == "Bearer t0ken"


def test_a_username_with_a_colon_from_the_environment_is_refused_without_being_shown():
    auth = {"type": "basic", "username": "${ACTIONMAP_SECRET_COLON}", "password": REFERENCE}
    with pytest.raises(SettingsError, match="colon") as caught:
        build(to=integration(auth=auth))
    assert "s3cret" not in str(caught.value)


def test_each_attempt_has_another_signature_and_time_but_the_same_id_and_body():
    to = integration(signing={"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_KEY}"})
    first, second = (build(to=to, at=at) for at in (1_700_000_000, 1_700_000_060))
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "am1_x"
    assert first.body == second.body
    for name in ("webhook-timestamp", "webhook-signature"):
        assert first.headers[name] != second.headers[name]


def test_all_secrets_sign_while_one_is_being_changed():
    signing = {"scheme": "standardWebhooks", "secrets": ["${ACTIONMAP_SECRET_KEY}", VAULT.seal("older-secret")]}
    assert build(to=integration(signing=signing)).headers["webhook-signature"].count("v1,") == 2


def test_a_hub_signature_may_stand_in_a_header_of_its_own_and_needs_the_first_secret_only():
    signing = {
        "scheme": "xHubSignature",
        "secrets": [REFERENCE, "${ACTIONMAP_SECRET_GONE}"],
        "header": "X-My-Signature",
    }
    headers = build(to=integration(signing=signing)).headers
    assert headers["X-My-Signature"].startswith("sha1=")
    assert "X-Hub-Signature" not in headers


def test_a_signing_without_a_secret_is_named():
    unsigned = Signing.model_construct(scheme="xHubSignature", secret=None, secrets=None, header=None)
    with pytest.raises(SettingsError, match="the signing secret of crm"):
        build(to=integration().model_copy(update={"signing": unsigned}))


def test_a_signing_secret_that_is_no_base64_is_named_but_never_shown():
    secrets = environment_secrets({"ACTIONMAP_SECRET_A": "whsec_!!geheim!!"})
    with pytest.raises(SettingsError, match="ACTIONMAP_SECRET_A") as caught:
        build(to=integration(signing={"scheme": "standardWebhooks", "secret": REFERENCE}), secrets=secrets)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "\x7f", "\ud800"])
def test_a_header_value_that_could_add_a_header_is_never_sent(value):
    with pytest.raises(Unrenderable, match="X-Source"):
        build(delivery(headers={"X-Source": value}))


@pytest.mark.parametrize("name", ["X Y", "X:Y", "X\r\nY", "", "Ü", "Host", "content-length", "Transfer-Encoding", "TE"])
def test_a_header_name_that_is_none_or_belongs_to_http_is_never_sent(name):
    with pytest.raises(Unrenderable):
        build(delivery(headers={name: "1"}))


@pytest.mark.parametrize("value", ["Köln", "line\u2028separator", "日本"])
def test_a_header_value_beyond_ascii_is_sent(value):
    assert build(delivery(headers={"X-Source": value})).headers["X-Source"] == value


@pytest.mark.parametrize("target", ["/../admin", "/a/./b", "/%2e%2e/admin", "/a/.%2E", "..", "/a/%2e?x=1"])
def test_a_visitors_dots_cannot_lead_to_another_path(target):
    with pytest.raises(Unrenderable, match="segment"):
        build(delivery(target=target))


@pytest.mark.parametrize("target", ["/a b", "/a\r\nHost: evil", "/a\\b", "/a#b", "/\x00", "/\ud800"])
def test_a_target_that_is_no_path_is_never_sent(target):
    with pytest.raises(Unrenderable):
        build(delivery(target=target))


@pytest.mark.parametrize(
    "target", ["@evil.example/", ".evil.example/", ":8080/", "evil", "//evil.example/", "?x=/../", ""]
)
@pytest.mark.parametrize(
    "base_url", ["https://crm.example.com", "https://crm.example.com/", "https://crm.example.com/api//"]
)
def test_no_target_changes_the_host(target, base_url):
    url = httpx.URL(build(delivery(target=target), integration(base_url)).url)
    assert (url.scheme, url.host, url.port) == ("https", "crm.example.com", None)


def test_half_a_surrogate_pair_in_the_body_is_never_sent():
    with pytest.raises(Unrenderable, match="surrogate"):
        build(delivery(body='"\ud800"'))


def test_a_request_shows_no_credential_when_printed():
    assert "s3cret" not in repr(build(to=integration(auth={"type": "bearer", "token": REFERENCE})))
