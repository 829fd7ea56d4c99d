"""Signatures verify with libraries that we did not write."""

import json
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix

from actionmap.deliver.sign import secret_bytes, signature_headers
from actionmap.demo.receiver import is_genuine

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"email": "a@b.example", "name": "Zoë"}, ensure_ascii=False).encode()


@pytest.fixture(params=["UTC", "Asia/Jakarta", "America/St_Johns"])
def _zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _now_s():
    return int(datetime.now(UTC).timestamp())


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize("library", [standardwebhooks, svix])
def test_a_standard_webhooks_signature_verifies_elsewhere_in_any_time_zone(library):
    headers = signature_headers(
        "standardWebhooks", message_id="am1_abc", timestamp_s=_now_s(), body=BODY, secret=SECRET
    )
    library.Webhook(SECRET).verify(BODY, headers)


@pytest.mark.parametrize("library", [standardwebhooks, svix])
def test_a_changed_body_id_or_time_does_not_verify(library):
    error = (
        library.WebhookVerificationError if library is standardwebhooks else library.webhooks.WebhookVerificationError
    )
    headers = signature_headers(
        "standardWebhooks", message_id="am1_abc", timestamp_s=_now_s(), body=BODY, secret=SECRET
    )
    changed = [
        (BODY + b" ", headers),
        (BODY, headers | {"webhook-id": "am1_abd"}),
        (BODY, headers | {"webhook-timestamp": str(_now_s() - 1)}),
    ]
    for body, altered in changed:
        with pytest.raises(error):
            library.Webhook(SECRET).verify(body, altered)


def test_each_attempt_is_signed_anew_with_the_same_id():
    first, second = (
        signature_headers("standardWebhooks", message_id="x", timestamp_s=at, body=BODY, secret=SECRET) for at in (1, 2)
    )
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("scheme", "header", "value"),
    [
        # From `printf %s '{"a":1}' | openssl dgst -sha1 -hmac secret`, and -sha256.
        ("xHubSignature", "X-Hub-Signature", "sha1=f8446672f033e4b2beafc5ca3a71eafcd2cafb6e"),
        (
            "xHubSignature256",
            "X-Hub-Signature-256",
            "sha256=aa9e2e3575f5d7098b6caccd790888c36d5fdb63342a73bada2d6a51747a8494",
        ),
    ],
)
def test_hub_signatures_are_what_openssl_says(scheme, header, value):
    headers = signature_headers(scheme, message_id="x", timestamp_s=1, body=b'{"a":1}', secret="secret")
    assert headers == {header: value}


@pytest.mark.parametrize("scheme", ["standardWebhooks", "xHubSignature", "xHubSignature256"])
@pytest.mark.parametrize("secret", [SECRET, "plain text, with ümlaut", "whsec_YWJjZA"])
def test_the_demo_receiver_verifies_what_we_sign_and_nothing_else(scheme, secret):
    headers = signature_headers(scheme, message_id="am1_x", timestamp_s=1000, body=BODY, secret=secret)
    lower = {name.lower(): value for name, value in headers.items()}
    assert is_genuine(scheme, secret, lower, BODY, now_s=1300)
    assert not is_genuine(scheme, secret, lower, BODY + b"x", now_s=1300)
    assert not is_genuine(scheme, secret + "YWJj", lower, BODY, now_s=1300)
    assert not is_genuine(scheme, secret, {}, BODY, now_s=1300)
    if scheme == "standardWebhooks":
        assert not is_genuine(scheme, secret, lower, BODY, now_s=1301)


@pytest.mark.parametrize(
    ("secret", "key"), [("whsec_YWJjZA", b"abcd"), ("whsec_YWJjZA==", b"abcd"), ("é", b"\xc3\xa9")]
)
def test_a_secret_with_whsec_is_base64_with_or_without_padding(secret, key):
    assert secret_bytes(secret) == key


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_a", "whsec_ab-_"])
def test_an_unusable_secret_is_refused_without_being_shown(secret):
    with pytest.raises(ValueError) as caught:
        signature_headers("xHubSignature", message_id="x", timestamp_s=1, body=b"", secret=secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value).split()


def test_an_id_with_a_dot_is_not_signed():
    with pytest.raises(ValueError, match="dot"):
        signature_headers("standardWebhooks", message_id="a.b", timestamp_s=1, body=b"", secret="s")


def test_without_signing_there_is_no_header():
    assert signature_headers("none", message_id="x", timestamp_s=1, body=b"", secret="") == {}
