"""Signatures verify with libraries that we did not write."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from actionmap.catalog.models.auth import MOST_SECRETS
from actionmap.catalog.secrets import secret_bytes
from actionmap.deliver.sign import signature_headers
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
        "standardWebhooks", message_id="am1_abc", timestamp_s=_now_s(), body=BODY, secrets=[SECRET]
    )
    library.Webhook(SECRET).verify(BODY, headers)


@pytest.mark.parametrize("library", [standardwebhooks, svix])
def test_a_changed_body_id_or_time_does_not_verify(library):
    error = (
        library.WebhookVerificationError if library is standardwebhooks else library.webhooks.WebhookVerificationError
    )
    headers = signature_headers(
        "standardWebhooks", message_id="am1_abc", timestamp_s=_now_s(), body=BODY, secrets=[SECRET]
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
        signature_headers("standardWebhooks", message_id="x", timestamp_s=at, body=BODY, secrets=[SECRET])
        for at in (1, 2)
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
    headers = signature_headers(scheme, message_id="x", timestamp_s=1, body=b'{"a":1}', secrets=["secret"])
    assert headers == {header: value}


@pytest.mark.parametrize("scheme", ["standardWebhooks", "xHubSignature", "xHubSignature256"])
@pytest.mark.parametrize("secret", [SECRET, "plain text, with ümlaut", "whsec_YWJjZA"])
def test_the_demo_receiver_verifies_what_we_sign_and_nothing_else(scheme, secret):
    headers = signature_headers(scheme, message_id="am1_x", timestamp_s=1000, body=BODY, secrets=[secret])
    lower = {name.lower(): value for name, value in headers.items()}
    assert is_genuine(scheme, secret, lower, BODY, now_s=1300)
    assert not is_genuine(scheme, secret, lower, BODY + b"x", now_s=1300)
    assert not is_genuine(scheme, secret + "YWJj", lower, BODY, now_s=1300)
    assert not is_genuine(scheme, secret, {}, BODY, now_s=1300)
    if scheme == "standardWebhooks":
        assert not is_genuine(scheme, secret, lower, BODY, now_s=1301)


# --- ed25519: key, message and signature are those that the tests of Svix's server publish

SECRET_1A = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_1A = base64.b64decode("1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
PUBLISHED = {"message_id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp_s": 1614265330, "body": b'{"test": 2432232314}'}


@pytest.mark.parametrize(
    ("secret", "signature"),
    [
        (SECRET, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        (SECRET_1A, "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="),
    ],
)
def test_the_published_vectors_come_out(secret, signature):
    headers = signature_headers("standardWebhooks", secrets=[secret], **PUBLISHED)
    assert headers["webhook-signature"] == signature


def test_the_public_key_may_be_missing_but_is_never_another_ones():
    key = base64.b64decode(SECRET_1A[5:])
    alone, foreign = ("whsk_" + base64.b64encode(one).decode() for one in (key[:32], key[:32] + bytes(32)))
    with_it, without = (signature_headers("standardWebhooks", secrets=[s], **PUBLISHED) for s in (SECRET_1A, alone))
    assert with_it == without
    with pytest.raises(ValueError, match="another key"):
        signature_headers("standardWebhooks", secrets=[foreign], **PUBLISHED)


@pytest.mark.parametrize("scheme", ["xHubSignature", "xHubSignature256"])
def test_an_ed25519_key_signs_no_hub_signature(scheme):
    with pytest.raises(ValueError, match="standardWebhooks only"):
        signature_headers(scheme, message_id="x", timestamp_s=1, body=b"", secrets=[SECRET_1A])


def verifies_1a(signatures, signed):
    """By the public key alone, with nothing of ours."""
    given = [base64.b64decode(one[4:]) for one in signatures.split(" ") if one.startswith("v1a,")]
    for one in given:
        Ed25519PublicKey.from_public_bytes(PUBLIC_1A).verify(one, signed)
    return bool(given)


def test_the_demo_receiver_verifies_ed25519_and_nothing_else():
    given = {"message_id": "am1_x", "timestamp_s": 1000, "body": BODY}
    headers = signature_headers("standardWebhooks", secrets=[SECRET_1A], **given)
    assert is_genuine("standardWebhooks", SECRET_1A, headers, BODY, now_s=1300)
    assert not is_genuine("standardWebhooks", SECRET_1A, headers, BODY + b"x", now_s=1300)
    assert not is_genuine(
        "standardWebhooks", SECRET_1A, headers | {"webhook-signature": "v1a,x v1,y"}, BODY, now_s=1300
    )
    assert not is_genuine("standardWebhooks", "whsk_" + "YWJj" * 10 + "YWI", headers, BODY, now_s=1300)


# --- several secrets


def test_every_secret_signs_while_one_is_being_changed():
    old, new = "whsec_" + base64.b64encode(b"old" * 8).decode(), SECRET
    headers = signature_headers(
        "standardWebhooks", message_id="am1_x", timestamp_s=_now_s(), body=BODY, secrets=[new, SECRET_1A, old]
    )
    assert [one.split(",")[0] for one in headers["webhook-signature"].split(" ")] == ["v1", "v1a", "v1"]
    for library in (standardwebhooks, svix):
        for secret in (old, new):
            library.Webhook(secret).verify(BODY, headers)
    assert verifies_1a(headers["webhook-signature"], f"am1_x.{headers['webhook-timestamp']}.".encode() + BODY)


def test_a_hub_signature_is_the_first_secrets_alone():
    both, first = (
        signature_headers("xHubSignature256", message_id="x", timestamp_s=1, body=BODY, secrets=secrets)
        for secrets in (["new", "old"], ["new"])
    )
    assert both == first


def test_a_hub_signature_may_stand_in_another_header():
    given = {"message_id": "x", "timestamp_s": 1, "body": BODY, "secrets": ["s"]}
    (usual,) = signature_headers("xHubSignature", **given).values()
    assert signature_headers("xHubSignature", header="X-My-Signature", **given) == {"X-My-Signature": usual}


_KEYS = st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=MOST_SECRETS - 1)


@given(
    # The libraries parse the body as JSON once it is verified; signed are its bytes.
    body=st.one_of(st.text().map(lambda text: json.dumps(text, ensure_ascii=False)), st.floats(0, 1).map(str)),
    keys=_KEYS,
    with_1a=st.booleans(),
    age_s=st.integers(-290, 290),
)
def test_signatures_always_verify(body, keys, with_1a, age_s):
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    at = _now_s() + age_s
    raw = body.encode()
    headers = signature_headers(
        "standardWebhooks", message_id="am1_x", timestamp_s=at, body=raw,
        secrets=[*secrets, SECRET_1A] if with_1a else secrets,
    )  # fmt: skip
    assert len(headers["webhook-signature"]) < 1024
    assert verifies_1a(headers["webhook-signature"], f"am1_x.{at}.".encode() + raw) is with_1a
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify(raw, headers)
        svix.Webhook(secret).verify(raw, headers)


@given(body=st.binary(max_size=200), keys=_KEYS, scheme=st.sampled_from(["standardWebhooks", "xHubSignature256"]))
def test_signatures_of_any_bytes_always_verify(body, keys, scheme):
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys] + [SECRET_1A]
    given = signature_headers(scheme, message_id="am1_x", timestamp_s=1, body=body, secrets=secrets)
    headers = {name.lower(): value for name, value in given.items()}
    known = secrets if scheme == "standardWebhooks" else secrets[:1]
    assert all(is_genuine(scheme, secret, headers, body, now_s=1) for secret in known)
    assert not any(is_genuine(scheme, secret, headers, body + b"x", now_s=1) for secret in known)


# --- secrets


@pytest.mark.parametrize(
    ("secret", "key"), [("whsec_YWJjZA", b"abcd"), ("whsec_YWJjZA==", b"abcd"), ("é", b"\xc3\xa9")]
)
def test_a_secret_with_whsec_is_base64_with_or_without_padding(secret, key):
    assert secret_bytes(secret) == key


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_a", "whsec_ab-_", "whsk_", "whsk_YWJj"])
def test_an_unusable_secret_is_refused_without_being_shown(secret):
    with pytest.raises(ValueError) as caught:
        signature_headers("standardWebhooks", message_id="x", timestamp_s=1, body=b"", secrets=[secret])
    shown = secret.removeprefix("whsec_").removeprefix("whsk_")
    assert not shown or shown not in str(caught.value).split()


def test_an_id_with_a_dot_is_not_signed():
    with pytest.raises(ValueError, match="dot"):
        signature_headers("standardWebhooks", message_id="a.b", timestamp_s=1, body=b"", secrets=["s"])


def test_without_signing_there_is_no_header():
    assert signature_headers("none", message_id="x", timestamp_s=1, body=b"", secrets=[]) == {}
