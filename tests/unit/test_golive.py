"""Would this map really fire? Eleven checks, the first four with fixed names."""

import pytest
from shop import BASE, TEN, definitions

from actionmap.errors import NotFound
from actionmap.golive import GoLive, Surroundings, active_maps, check_golive
from actionmap.store.durability import Guarantees
from actionmap.vault import Vault, new_key

FIXED = ["webhook-published", "action-map-active", "integration-active", "data-action-published"]
MAP = "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}"
AROUND = Surroundings(now=TEN)


def check(*texts: str, around: Surroundings = AROUND) -> GoLive:
    return check_golive(definitions(*(texts or (BASE, MAP))), "m", around)


def status(found: GoLive, name: str) -> str:
    [one] = [one for one in found.checks if one.name == name]
    return one.status


def test_the_first_four_names_are_fixed_and_in_order():
    assert [one.name for one in check().checks][:4] == FIXED


def test_a_map_whose_chain_is_live_is_ready():
    found = check()
    assert found.ready
    assert {one.status for one in found.checks[:4]} == {"pass"}
    assert all(one.fix == "" for one in found.checks if one.status == "pass")


BROKEN = {
    "webhook-published": [
        ("dataAction: greet\nstate: published", "dataAction: greet\nstate: draft"),
        ("dataAction: greet\nstate: published", "dataAction: greet\nstate: archived"),
        ("dataAction: greet\nstate: published", "dataAction: greet"),
    ],
    "action-map-active": [("{kind: ActionMap", "{active: false, kind: ActionMap")],
    "integration-active": [("baseUrl: https://crm.example.com", "baseUrl: https://crm.example.com\nactive: false")],
    "data-action-published": [
        ("integration: crm\nstate: published", "integration: crm\nstate: draft"),
        ("integration: crm\nstate: published", "integration: crm"),
    ],
}
CASES = [(name, before, then) for name, pairs in BROKEN.items() for before, then in pairs]


@pytest.mark.parametrize(("name", "before", "then"), CASES)
def test_each_of_the_four_fails_alone_with_its_fix_and_the_map_is_not_ready(name, before, then):
    text = f"{BASE}\n---\n{MAP}"
    assert text.count(before) == 1
    found = check(text.replace(before, then))
    assert [one.name for one in found.checks if one.status == "fail"] == [name]
    assert not found.ready
    assert all(one.fix for one in found.checks if one.status == "fail")


def test_the_four_are_always_pass_or_fail():
    for _, before, then in CASES:
        found = check(f"{BASE}\n---\n{MAP}".replace(before, then))
        assert {one.status for one in found.checks[:4]} <= {"pass", "fail"}
        assert [one.name for one in found.checks][:4] == FIXED


def test_what_only_the_running_system_knows_is_skipped_without_one():
    base = BASE.replace(
        "baseUrl: https://crm.example.com",
        'baseUrl: https://crm.example.com\nauth: {type: bearer, token: "${ACTIONMAP_SECRET_CRM}"}',
    )
    found = check(base, MAP)
    assert (status(found, "credentials-present"), status(found, "store-durable"), found.ready) == ("skip", "skip", True)


def test_a_secret_that_is_not_set_fails():
    base = BASE.replace(
        "baseUrl: https://crm.example.com",
        'baseUrl: https://crm.example.com\nauth: {type: bearer, token: "${ACTIONMAP_SECRET_CRM}"}\n'
        'signing: {scheme: standardWebhooks, secret: "${ACTIONMAP_SECRET_SIGN}"}',
    )
    found = check(base, MAP, around=Surroundings(now=TEN, secret_is_set={"ACTIONMAP_SECRET_CRM"}.__contains__))
    [one] = [one for one in found.checks if one.status == "fail"]
    assert (one.name, one.message) == ("credentials-present", "not set: ACTIONMAP_SECRET_SIGN")
    everything = Surroundings(now=TEN, secret_is_set=lambda _: True)
    assert check(base, MAP, around=everything).ready


def test_a_stored_secret_that_no_key_opens_fails():
    vault = Vault(new_key())
    base = BASE.replace(
        "baseUrl: https://crm.example.com",
        f'baseUrl: https://crm.example.com\nauth: {{type: bearer, token: "{vault.seal("s3cret")}"}}',
    )
    opens = [Surroundings(now=TEN, opens_secret=some.can_open) for some in (vault, Vault(new_key()), Vault())]
    found = [status(check(base, MAP, around=around), "credentials-present") for around in opens]
    assert found == ["pass", "fail", "fail"]


def test_an_inward_address_fails_unless_it_is_allowed():
    base = BASE.replace("https://crm.example.com", "http://localhost:9000")
    assert status(check(base, MAP), "egress-allowed") == "fail"
    allowed = Surroundings(now=TEN, egress_hosts=["localhost"])
    assert status(check(base, MAP, around=allowed), "egress-allowed") == "pass"


@pytest.mark.parametrize(
    ("dates", "expected", "ready"),
    [
        ("endDate: '2026-11-21T10:00:00Z'", "fail", False),
        ("endDate: '2026-11-21T10:00:00.001Z'", "pass", True),
        ("startDate: '2026-11-21T10:00:00.001Z'", "warn", True),
        ("startDate: '2026-11-21T10:00:00Z'", "pass", True),
    ],
)
def test_dates_that_are_over_fail_and_those_to_come_warn(dates, expected, ready):
    found = check(BASE, MAP.replace("{kind", f"{{{dates}, kind"))
    assert (status(found, "dates-open"), found.ready) == (expected, ready)


def test_an_inactive_segment_anywhere_behind_the_trigger_fails():
    texts = [
        "{kind: Segment, name: outer, when: {not: {segment: inner}}}",
        "{kind: Segment, name: inner, active: false, when: {key: visitor.id, operator: exists}}",
    ]
    asking = MAP.replace("{event: page_viewed}", "{all: [{event: x}, {segment: outer}]}")
    found = check(BASE, *texts, asking)
    assert status(found, "segments-active") == "fail"
    assert check(BASE, *[text.replace("active: false, ", "") for text in texts], asking).ready


@pytest.mark.parametrize(
    ("guarantees", "expected"),
    [(Guarantees("always"), "pass"), (Guarantees("everysec"), "pass"), (Guarantees("none", ("no AOF",)), "warn")],
)
def test_a_store_that_forgets_is_a_warning_only(guarantees, expected):
    found = check(around=Surroundings(now=TEN, guarantees=guarantees))
    assert (status(found, "store-durable"), found.ready) == (expected, True)


def test_an_unknown_map_is_not_found_with_the_nearest_name():
    with pytest.raises(NotFound, match="there is no action map 'pricng'; did you mean 'pricing'"):
        check_golive(definitions(BASE, MAP.replace("name: m", "name: pricing")), "pricng", AROUND)


def test_the_json_form_is_as_documented():
    made = check().as_json()
    assert list(made) == ["actionMap", "ready", "checks"]
    assert (made["actionMap"], made["ready"]) == ("m", True)
    assert all(list(one) == ["name", "status", "message", "fix"] for one in made["checks"])


def test_only_active_maps_are_checked_when_none_is_named():
    maps = [MAP.replace("name: m", f"name: {name}") for name in ("b", "a", "c")]
    found = definitions(BASE, *maps[:2], maps[2].replace("{kind", "{active: false, kind"))
    assert active_maps(found) == ["a", "b"]
