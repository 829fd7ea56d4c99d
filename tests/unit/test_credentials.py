"""What is kept of an attempt is scrubbed of its secrets, however a receiver gives them back."""

import html
import json
from base64 import b64encode
from urllib.parse import quote

import pytest

from actionmap.catalog.models.auth import BasicAuth
from actionmap.deliver.credentials import AttemptSecrets, authorization, environment_secrets

SECRET = 'Top+secret/"0815"'
A = "${ACTIONMAP_SECRET_A}"


@pytest.fixture
def secrets():
    some = AttemptSecrets(environment_secrets({"ACTIONMAP_SECRET_A": SECRET, "ACTIONMAP_SECRET_SHORT": "is"}))
    some.read(A)
    return some


@pytest.mark.parametrize(
    "encode",
    [str, str.upper, str.lower, quote, lambda s: quote(s, safe=""), lambda s: json.dumps(s)[1:-1], html.escape,
     lambda s: b64encode(s.encode()).decode()],
)  # fmt: skip
def test_a_secret_is_masked_in_every_encoding_it_travels_in(secrets, encode):
    assert secrets.scrubbed(f"you sent <{encode(SECRET)}>!") == "you sent <********>!"


def test_credentials_made_of_a_secret_are_masked_too(secrets):
    sent = authorization(BasicAuth(type="basic", username="me", password=A), secrets)["Authorization"]
    assert secrets.scrubbed(f"not you: {sent}") == "not you: Basic ********"


def test_json_is_scrubbed_all_through(secrets):
    told = {"a": [SECRET, {SECRET: f"x{SECRET}"}], "n": 1, "z": None}
    assert secrets.scrubbed(told) == {"a": ["********", {"********": "x********"}], "n": 1, "z": None}


def test_words_are_left_as_they_are(secrets):
    secrets.read("${ACTIONMAP_SECRET_SHORT}")
    words = html.escape("this & that is harmless")
    assert secrets.scrubbed(words) == words
    assert secrets.scrubbed(None) is None


def test_printed_it_shows_no_secret(secrets):
    assert SECRET not in repr(secrets) + str(secrets)
