"""API keys as settings give them."""

from hashlib import sha256

import pytest

from actionmap.admin.auth import ANYBODY, ApiKeys
from actionmap.errors import SettingsError
from actionmap.settings import load_settings, parse_api_keys

KEY = "s3cret-key-0123456789"
HASH = sha256(KEY.encode()).hexdigest()


def caller(entry: str, key: str = KEY):
    return ApiKeys(parse_api_keys(entry)).caller(key)


def test_a_key_has_rights_and_may_have_a_company_and_a_name():
    found = caller(f"{KEY}:read+edit@acme#deploy")
    assert (found.name, found.rights, found.company) == ("deploy", {"read", "edit"}, "acme")
    plain = caller(f"other-key-000:ingest, {KEY}:read")
    assert (plain.name, plain.rights, plain.company) == (f"key-{HASH[:8]}", {"read"}, None)


def test_a_key_may_be_given_as_its_hash_alone():
    found = caller(f"sha256:{HASH}:read+publish@acme")
    assert (found.rights, found.company) == ({"read", "publish"}, "acme")
    assert caller(f"sha256:{HASH}:read", HASH) is None, "the hash itself opens nothing"


def test_no_key_is_kept():
    keys = ApiKeys(parse_api_keys(f"{KEY}:read#a"))
    assert KEY not in repr(vars(keys))


@pytest.mark.parametrize(
    "entry",
    [
        KEY, f"{KEY}:", f"{KEY}:fly", f"{KEY}:read@", f"{KEY}:read@No Company", f"{KEY}:read#", "short:read",
        f"{KEY}:read@acme@globex", f"{KEY}:read+@acme",
    ],
)  # fmt: skip
def test_an_entry_that_is_none_is_refused_by_its_number_and_without_the_key(entry):
    with pytest.raises(SettingsError, match="ACTIONMAP_API_KEYS: entry 1 is not KEY:rights") as caught:
        load_settings(api_keys=entry.replace(" ", "_"))
    assert KEY not in str(caught.value)


def test_where_no_key_is_needed_a_key_that_is_known_still_counts():
    keys = ApiKeys(parse_api_keys(f"{KEY}:read#reader"), open_access=True)
    assert keys.caller(None) is ANYBODY
    assert keys.caller("unknown-key") is ANYBODY
    assert keys.caller(KEY).name == "reader"
