"""Secrets at rest: who has no key learns nothing, and a key can be changed without losing any."""

import pytest
from cryptography.fernet import Fernet

from actionmap.errors import SettingsError
from actionmap.settings import load_settings
from actionmap.vault import SEALED, Vault, new_key

OLD, NEW = new_key(), new_key()
SECRET = "s3cret, ümlaut & all"


def test_what_is_sealed_opens_and_shows_nothing():
    sealed = Vault(OLD).seal(SECRET)
    assert SEALED.match(sealed)
    assert "s3cret" not in sealed
    assert Vault(OLD).open(sealed) == SECRET


def test_the_same_secret_is_never_sealed_alike():
    assert Vault(OLD).seal(SECRET) != Vault(OLD).seal(SECRET)


def test_without_a_key_nothing_is_sealed_or_opened_and_it_is_told_how_to_make_one():
    for call in (Vault().seal, Vault().open):
        with pytest.raises(SettingsError, match="actionmap secrets key"):
            call(Vault(OLD).seal(SECRET))


@pytest.mark.parametrize(
    "damaged", [lambda s: s[:-4], lambda s: s[:-5] + "AAAAA", lambda s: "encrypted:v1:x", str.upper]
)
def test_what_is_damaged_or_of_another_key_is_refused_in_words(damaged):
    sealed = Vault(OLD).seal(SECRET)
    for vault, text in ((Vault(NEW), sealed), (Vault(OLD), damaged(sealed))):
        assert not vault.can_open(text)
        with pytest.raises(SettingsError) as caught:
            vault.open(text)
        assert text not in str(caught.value)


@pytest.mark.parametrize("between", [",", " ", ", "])
def test_while_a_key_is_changed_both_open_and_the_new_one_seals(between):
    before = Vault(OLD).seal(SECRET)
    both = Vault(NEW + between + OLD)
    assert both.open(before) == SECRET
    assert Vault(NEW).open(both.seal(SECRET)) == SECRET


def test_after_rotating_the_old_key_is_not_needed_and_the_name_stays():
    before = Vault(OLD).seal(SECRET)
    after = Vault(f"{NEW},{OLD}").rotate(before)
    assert Vault(NEW).open(after) == SECRET
    assert not Vault(OLD).can_open(after)
    assert SEALED.match(after)[1] == SEALED.match(before)[1]
    assert Vault(NEW).rotate(after) == after


def test_a_key_that_is_none_is_refused_without_being_shown():
    with pytest.raises(SettingsError, match="ACTIONMAP_SECRETS_KEY: entry 2 is no key") as caught:
        load_settings(secrets_key=f"{OLD},t0ps3cret")
    assert "t0ps3cret" not in str(caught.value)
    assert OLD not in str(caught.value)
    assert OLD not in repr(load_settings(secrets_key=OLD))


def test_a_key_is_one_of_fernet_so_that_other_tools_can_make_it():
    assert Vault(Fernet.generate_key().decode()).seal("x")
