"""Secrets written out in definitions: stored encrypted, shown masked, kept by their masks."""

import json

import pytest

from actionmap.catalog.plan import plan, to_yaml
from actionmap.catalog.sealing import rotated, sealed
from actionmap.errors import DefinitionError
from actionmap.vault import SEALED, Vault, new_key
from support import definitions, held

KEY = new_key()
VAULT = Vault(KEY)
REFERENCE = "${ACTIONMAP_SECRET_A}"
OAUTH = {"type": "oauth2ClientCredentials", "tokenUrl": "https://login.example.com/token", "clientId": "me"}
#: Where a secret may stand: the rest of the integration for one.
PLACES = {
    "password": lambda text: {"auth": {"type": "basic", "username": "me", "password": text}},
    "token": lambda text: {"auth": {"type": "bearer", "token": text}},
    "value": lambda text: {"auth": {"type": "apiKey", "header": "X-Key", "value": text}},
    "clientSecret": lambda text: {"auth": {**OAUTH, "clientSecret": text}},
    "secret": lambda text: {"signing": {"scheme": "xHubSignature", "secret": text}},
    "secrets": lambda text: {"signing": {"scheme": "standardWebhooks", "secrets": [REFERENCE, text]}},
}


def crm(more):
    return definitions([{"kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com", **more}])


def signed_with(*secrets):
    return crm({"signing": {"scheme": "standardWebhooks", "secrets": list(secrets)}})


def stored_texts(some):
    (integration,) = some.values()
    return integration.sealed_secrets()


def shown_secrets(some):
    (integration,) = some.values()
    return integration.as_written()["signing"]["secrets"]


def refusal(wanted, stored=None, vault=VAULT):
    with pytest.raises(DefinitionError) as caught:
        sealed(wanted, stored or {}, vault)
    (finding,) = caught.value.findings
    return finding


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


def test_a_secret_that_is_written_out_is_stored_encrypted_and_shown_masked(place):
    stored = sealed(crm(place("s3cret-value")), {}, VAULT)
    (text,) = stored_texts(stored)
    assert VAULT.open(text) == "s3cret-value"
    (integration,) = stored.values()
    for shown in (repr(integration), str(integration), to_yaml(integration), integration.model_dump_json(),
                  json.dumps(integration.as_written())):  # fmt: skip
        assert "********" in shown
        assert "s3cret" not in shown
        assert text not in shown
    assert "s3cret" not in json.dumps(integration.as_stored())


def test_before_it_is_stored_it_is_masked_too(place):
    (integration,) = crm(place("s3cret-value")).values()
    for shown in (repr(integration), to_yaml(integration), str(integration.model_dump())):
        assert "********" in shown
        assert "s3cret" not in shown


def test_a_reference_stays_as_it_is_and_needs_no_key(place):
    wanted = crm(place(REFERENCE))
    assert sealed(wanted, {}, Vault()) == wanted
    (integration,) = wanted.values()
    assert REFERENCE in to_yaml(integration)


def test_the_same_secret_once_more_is_no_change(place):
    stored = sealed(crm(place("s3cret-value")), {}, VAULT)
    again = sealed(crm(place("s3cret-value")), stored, Vault(f"{new_key()},{KEY}"))
    assert again == stored
    assert [change.action for change in plan(held(stored), again, prune=True)] == ["unchanged"]


def test_another_secret_is_a_change_that_shows_neither(place):
    stored = sealed(crm(place("s3cret-value")), {}, VAULT)
    then = sealed(crm(place("an0ther-value")), stored, VAULT)
    (change,) = plan(held(stored), then, prune=True)
    assert change.action == "change"
    assert [line[0] for line in change.diff if "********" in line] == ["-", "+"]
    assert not any("s3cret" in line or "an0ther" in line for line in change.diff)


def test_what_was_exported_and_applied_again_is_no_change(place):
    stored = sealed(crm(place("s3cret-value")), {}, VAULT)
    (integration,) = stored.values()
    exported = definitions([{"kind": "Integration", **integration.as_written()}])
    assert sealed(exported, stored, Vault()) == stored, "and that takes no key"


def test_a_bare_mask_keeps_what_is_stored_in_its_place(place):
    stored = sealed(crm(place("s3cret-value")), {}, VAULT)
    assert sealed(crm(place("********")), stored, VAULT) == stored


@pytest.mark.parametrize("mask", ["********", "********-0123abcd"])
def test_a_mask_that_keeps_nothing_is_refused(place, mask):
    for stored in ({}, sealed(crm(place(REFERENCE)), {}, VAULT)):
        finding = refusal(crm(place(mask)), stored)
        assert "the mask keeps a stored secret, and there is none" in finding.message
        assert (finding.subject, finding.path.split(".")[0] in ("auth", "signing")) == ("Integration crm", True)


def test_without_a_key_a_secret_is_refused_and_it_is_told_what_to_do(place):
    finding = refusal(crm(place("s3cret-value")), vault=Vault())
    assert "set ACTIONMAP_SECRETS_KEY" in finding.message
    assert "actionmap secrets key" in finding.message
    assert "s3cret" not in str(finding)


def test_an_encrypted_secret_is_not_taken_from_elsewhere(place):
    (foreign,) = stored_texts(sealed(crm(place("s3cret-value")), {}, VAULT))
    assert "encrypted for another place" in refusal(crm(place(foreign))).message


def test_masks_follow_their_secrets_when_one_is_put_before_them_or_taken_away():
    stored = sealed(signed_with("first-old", "second-old"), {}, VAULT)
    first, second = shown_secrets(stored)
    then = sealed(signed_with("new", first), stored, VAULT)
    assert [VAULT.open(text) for text in stored_texts(then)] == ["new", "first-old"]
    swapped = sealed(signed_with(second, first), stored, VAULT)
    assert [VAULT.open(text) for text in stored_texts(swapped)] == ["second-old", "first-old"]


def test_a_secret_rotated_eleven_times_has_ten_signatures_at_the_most():
    now = sealed(signed_with("number-0"), {}, VAULT)
    for turn in range(1, 12):
        now = sealed(signed_with(f"number-{turn}", *shown_secrets(now)[:9]), now, VAULT)
    assert [VAULT.open(text) for text in stored_texts(now)] == [f"number-{turn}" for turn in range(11, 1, -1)]
    with pytest.raises(DefinitionError, match=r"signing\.secrets.*at most 10"):
        signed_with("one-more", *shown_secrets(now))


def test_rotating_the_key_leaves_masks_as_they_are():
    old = sealed(signed_with("a-secret", REFERENCE, "b-secret"), {}, VAULT)
    newer = new_key()
    new = rotated(old, Vault(f"{newer},{KEY}"))
    assert [Vault(newer).open(text) for text in stored_texts(new)] == ["a-secret", "b-secret"]
    assert shown_secrets(new) == shown_secrets(old)
    assert [change.action for change in plan(held(old), new, prune=True)] == ["unchanged"]
    assert rotated(new, Vault(newer)) == {}


def test_all_that_is_wrong_is_told_at_once():
    wanted = crm({**PLACES["token"]("s3cret"), **PLACES["secrets"]("********")})
    with pytest.raises(DefinitionError) as caught:
        sealed(wanted, {}, Vault())
    assert {finding.path for finding in caught.value.findings} == {"auth.token", "signing.secrets.1"}


def test_a_stored_secret_is_named_by_what_tells_nothing_of_it():
    (one,), (other,) = (stored_texts(sealed(crm(PLACES["token"]("s3cret")), {}, VAULT)) for _ in range(2))
    assert SEALED.match(one)[1] != SEALED.match(other)[1]
