"""Would this map really fire? The checks, the first four with fixed names, and what pipelines are told."""

from xml.etree import ElementTree

import pytest
from shop import BASE, TEN, definitions

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.mappings import key_of_lookups
from actionmap.errors import NotFound
from actionmap.golive import (
    Consumption,
    GoLive,
    Surroundings,
    active_maps,
    as_junit,
    check_each,
    check_golive,
    counted_lookups,
    origins_of,
)
from actionmap.golive.chain import destinations
from actionmap.store.durability import Guarantees
from actionmap.store.integrations import Hold, IntegrationHealth, IntegrationState, Probed
from actionmap.store.lookups import Count
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


def one(found: GoLive, name: str):
    [check] = [check for check in found.checks if check.name == name]
    assert bool(check.fix) == (check.status in ("fail", "warn")), check
    return check


def test_everything_that_fails_or_warns_says_what_to_do():
    everything = {
        "no-newer-draft": {"drafts": ["Webhook/hello"]}, "endpoint-reachable": {"probes": {CRM: "refused"}},
        "breaker-closed": {"breakers": {"w1": {"crm": "open"}}},
        "consumer-alive": {"consumption": Consumption(members=0)},
    }  # fmt: skip
    for name, known in everything.items():
        assert one(check(around=Surroundings(now=TEN, **known)), name).status in ("fail", "warn")


# --- schedule


def scheduled(open_: str, **more: object) -> GoLive:
    rest = "".join(f", {name}: '{value}'" for name, value in more.items() if name != "closed")
    closed = f", except: [{more['closed']}]" if "closed" in more else ""
    schedule = f"schedule: {{timezone: UTC, open: ['{open_}']{closed}}}{rest}"
    return check(BASE, MAP.replace("{kind", f"{{{schedule}, kind"))


DECEMBER = ", ".join(f"'2026-{month}-{day:02}'" for month, days in (("11", range(21, 31)), ("12", range(1, 32)))
                     for day in days)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        (lambda: scheduled("mon-sun 09:00-18:00"), "pass", "it is open"),
        (lambda: scheduled("mon 09:00-18:00"), "pass", "it opens at 2026-11-23T09:00:00.000Z"),
        (lambda: scheduled("mon 09:00-18:00", endDate="2026-11-23T09:00:00Z"), "fail", "not open before it ends"),
        (lambda: scheduled("mon 09:00-18:00", startDate="2026-11-24T00:00:00Z", endDate="2026-11-30T09:00:00Z"), "fail",
         "it does not open before"),
        (lambda: scheduled("mon-sun 09:00-18:00", closed=DECEMBER), "warn", "which is more than 31 days away"),
        (check, "pass", "no opening hours"),
    ],
)  # fmt: skip
def test_a_schedule_opens_between_the_dates_and_soon(found, status, said):
    check_ = one(found(), "schedule-opens")
    assert (check_.status, said in check_.message) == (status, True), check_


# --- mode


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ("", "pass", "it is live: what it fires is sent"),
        ("mode: live, holdoutPercent: 10", "pass", "not for the 10 % of the visitors that are held out"),
        ("holdoutPercent: 100", "warn", "all visitors are held out"),
        ("mode: shadow", "warn", "nothing is sent"),
        ("mode: shadow, holdoutPercent: 100", "warn", "nothing is sent"),
    ],
)
def test_a_map_that_sends_nothing_is_a_warning_with_what_to_do(more, status, said):
    found = check(BASE, MAP.replace("{kind", f"{{{more}, kind") if more else MAP)
    check_ = one(found, "mode-live")
    assert (check_.status, said in check_.message, found.ready) == (status, True, True), check_


def test_maps_of_one_webhook_are_told_of_their_own_mode():
    shadow = MAP.replace("name: m", "name: n, mode: shadow")
    found = check_each(definitions(BASE, MAP, shadow), ["m", "n"], AROUND)
    assert [one(some, "mode-live").status for some in found] == ["pass", "warn"]


# --- outranked

GROUP = "exclusiveGroup: g, frequency: every, action: {webhook: hello}"
WINNER = f"{{kind: ActionMap, name: a, priority: high, trigger: {{event: x}}, {GROUP}}}"
LOSER = f"{{kind: ActionMap, name: m, trigger: {{all: [{{event: x}}, {{segment: s}}]}}, {GROUP}}}"
SEGMENT = "{kind: Segment, name: s, when: {key: visitor.id, operator: exists}}"


def test_a_map_that_never_comes_first_in_its_group_fails_and_names_who_does():
    found = one(check(BASE, SEGMENT, WINNER, LOSER), "not-outranked")
    assert (found.status, "a does too and comes first in the group g" in found.message) == ("fail", True)
    for other in (WINNER.replace("{kind", "{active: false, kind"), WINNER.replace("high", "low"),
                  WINNER.replace("frequency: every", "frequency: {max: 1}"), WINNER.replace("event: x", "event: y"),
                  WINNER.replace("exclusiveGroup: g", "exclusiveGroup: h")):  # fmt: skip
        assert one(check(BASE, SEGMENT, other, LOSER), "not-outranked").status == "pass"


# --- the running system

CRM = ("crm", "https://crm.example.com")


def test_what_only_the_server_knows_is_skipped_without_one_and_none_of_it_fails():
    asked = ["no-newer-draft", "endpoint-reachable", "integration-well", "breaker-closed", "consumer-alive",
             "store-durable"]  # fmt: skip
    assert [one(check(), name).status for name in asked] == ["skip"] * len(asked)


@pytest.mark.parametrize(
    ("drafts", "status"),
    [([], "pass"), (["Webhook/other"], "pass"), (["Webhook/hello"], "warn"), (["DataAction/greet"], "warn")],
)
def test_a_newer_draft_is_a_warning_with_how_to_publish_it(drafts, status):
    found = one(check(around=Surroundings(now=TEN, drafts=drafts)), "no-newer-draft")
    assert found.status == status
    if drafts == ["Webhook/hello"]:
        assert "POST /api/v1/webhooks/hello/publish" in found.fix


@pytest.mark.parametrize(("problem", "status"), [("", "pass"), ("refused", "fail"), (None, "skip")])
def test_the_probe_of_its_own_origin_counts(problem, status):
    probes = {("crm", "https://else.example.com"): "", ("other", CRM[1]): "x"} | (
        {} if problem is None else {CRM: problem}
    )
    assert one(check(around=Surroundings(now=TEN, probes=probes)), "endpoint-reachable").status == status


STATES = {
    "nothing noted": (IntegrationState(), "pass", "activating"),
    "proven": (IntegrationState(None, IntegrationHealth(proven_as="e", proven_at=5)), "pass", "active"),
    "reached": (IntegrationState(probed=Probed(5, "e")), "pass", "active"),
    "not reached": (IntegrationState(probed=Probed(5, "e", "refused")), "fail", "refused"),
    "failing": (
        IntegrationState(None, IntegrationHealth(failing_since=TEN - 299_999, last_error="503", failed_as="e")),
        "warn",
        "503",
    ),
    "failing for minutes": (
        IntegrationState(None, IntegrationHealth(failing_since=TEN - 300_000, last_error="503", failed_as="e")),
        "fail",
        "503",
    ),
    "disabled": (IntegrationState(Hold("disabled", 5)), "fail", "its deliveries are held"),
    "paused": (IntegrationState(Hold("paused", 5)), "warn", "its deliveries are held"),
    "a warning": (IntegrationState(None, IntegrationHealth(warning="410")), "warn", "410"),
}


@pytest.mark.parametrize("state", STATES)
def test_the_reported_state_of_the_integration_counts_and_only_what_is_tried_again_warns(state):
    known, status, said = STATES[state]
    around = Surroundings(now=TEN, integrations={"crm": known}, edition=lambda _: "e")
    found = one(check(around=around), "integration-well")
    assert (found.status, said in found.message) == (status, True), found


def test_an_open_breaker_is_a_warning_of_its_own_integration_alone():
    for name, status in (("crm", "warn"), ("other", "pass")):
        around = Surroundings(now=TEN, breakers={"w1": {name: "open"}})
        assert one(check(around=around), "breaker-closed").status == status


@pytest.mark.parametrize(
    ("consumption", "status", "said"),
    [
        (Consumption(members=2, lag=7), "pass", "7 records"),
        (Consumption(members=None), "pass", "does not tell"),
        (Consumption(members=0, lag=7), "fail", "no worker consumes"),
        (Consumption(members=2, lag=10_001), "warn", "10,001 records"),
        (Consumption(members=2, halted={3: "a gap"}), "fail", "partition 3 is halted: a gap"),
        (Consumption(problem="Kafka does not answer"), "fail", "Kafka does not answer"),
    ],
)
def test_somebody_evaluates_events_in_every_partition_and_keeps_up(consumption, status, said):
    found = one(check(around=Surroundings(now=TEN, consumption=consumption)), "consumer-alive")
    assert (found.status, said in found.message) == (status, True), found


def test_many_maps_are_checked_as_each_alone_with_or_without_a_rulebook():
    maps = [MAP.replace("name: m", f"name: m{number}") for number in range(3)]
    draft = "{kind: Webhook, name: draft, dataAction: greet, mappings: {who: {value: a}}}"
    asks_draft = MAP.replace("name: m", "name: n").replace("hello", "draft")
    known = definitions(BASE, SEGMENT, WINNER, LOSER, *maps, draft, asks_draft)
    names = active_maps(known)
    alone = [check_golive(known, name, AROUND) for name in names]
    assert list(check_each(known, names, AROUND)) == alone
    assert list(check_each(known, names, AROUND, compile_rulebook(known).parts)) == alone
    assert {found.action_map for found in alone if not found.ready} == {"m", "n"}


def test_maps_of_one_webhook_are_told_of_their_own_lookups():
    known = definitions(BASE, MAP, MAP.replace("name: m", "name: n"))
    m, m_who, n, _ = counted_lookups(known, ["m", "n"])
    around = Surroundings(now=TEN, lookups={m: Count(5, 4), m_who: Count(2, 1), n: Count(3, 3)})
    found = check_each(known, ["m", "n"], around)
    assert [one(some, "lookups-resolved").status for some in found] == ["warn", "pass"]


def test_the_fix_does_not_ask_for_what_the_mapping_says_already():
    for mapping, said in (("", "say what is sent without it"), (", onMissing: omit", "is said already")):
        known = definitions(BASE.replace("visitor.id", f"visitor.traits.name{mapping}"), MAP)
        matches, missing = counted_lookups(known, ["m"])
        [found] = check_each(known, ["m"], Surroundings(now=TEN, lookups={matches: Count(5, 4), missing: Count(1, 1)}))
        assert said in one(found, "lookups-resolved").fix


def test_what_was_counted_of_other_lookups_tells_nothing_of_those_of_now():
    known = definitions(BASE, MAP)
    m, m_who = counted_lookups(known, ["m"])
    around = Surroundings(now=TEN, lookups={m: Count(5, 4), m_who: Count(5, 4)})
    for changed, status in (
        (BASE.replace("published\nmappings", "published\ndescription: other\nmappings"), "warn"),
        (BASE.replace("visitor.id", "visitor.traits.name"), "skip"),
        (BASE.replace("{lookup: visitor.id}", "{value: anybody}"), "pass"),
    ):
        [found] = check_each(definitions(changed, MAP), ["m"], around)
        assert one(found, "lookups-resolved").status == status, changed


def test_where_an_integration_is_sent_to_is_told_for_each_tenant():
    tenants = BASE.replace("https://crm", "'https://{{ who }}.crm").replace("example.com", "example.com/{{ who }}'")
    known = definitions(tenants.replace("lookup: visitor.id", "value: acme"))
    assert origins_of(known, known["Integration/crm"]) == ["https://acme.crm.example.com"]
    assert origins_of(known, definitions(BASE)["Integration/crm"]) == ["https://crm.example.com"]
    del known["Webhook/hello"]
    assert origins_of(known, known["Integration/crm"]) == []


LIVE = BASE.replace("https://crm.example.com", "'https://{{ who }}.crm.example.com'").replace(
    "lookup: visitor.id", "value: acme"
)
PUBLISHED = "state: published\nmappings"
UNPUBLISHED = {
    "draft": ("the webhook hello is draft", lambda text: text.replace(PUBLISHED, "mappings")),
    "archived": ("the webhook hello is archived", lambda text: text.replace(PUBLISHED, "state: archived\nmappings")),
    "action": ("the data action greet is a draft", lambda text: text.replace("state: published", "state: draft", 1)),
}


@pytest.mark.parametrize("what", UNPUBLISHED)
def test_what_is_not_published_leads_the_server_nowhere_and_its_map_says_why_it_was_not_tried(what):
    reason, unpublish = UNPUBLISHED[what]
    known = definitions(unpublish(LIVE), MAP)
    assert origins_of(known, known["Integration/crm"]) == []
    assert destinations(known, ["m"]) == {}
    for probes in ({}, {("crm", "https://acme.crm.example.com"): "refused"}):
        found = one(check(unpublish(LIVE), MAP, around=Surroundings(now=TEN, probes=probes)), "endpoint-reachable")
        assert (found.status, reason in found.message) == ("skip", True), found
    assert set(destinations(definitions(LIVE, MAP), ["m"])) == {("crm", "https://acme.crm.example.com")}


def test_what_is_counted_is_asked_for_the_maps_that_there_are():
    known = definitions(BASE, MAP)
    key = key_of_lookups(known["Webhook/hello"])
    assert counted_lookups(known, ["m", "gone"]) == [f"m@{key}", f"m@{key}/who"]


# --- JUnit


def test_pipelines_are_told_in_junit_xml_with_a_suite_for_each_map():
    broken = definitions(BASE.replace("state: published", "state: draft", 1), MAP, MAP.replace("name: m", "name: n"))
    around = Surroundings(now=TEN, drafts=["Webhook/hello"])
    results = [found.as_json() for found in check_each(broken, ["m", "n"], around)]
    written = as_junit(results)
    root = ElementTree.fromstring(written.encode())
    assert written.startswith("<?xml ")
    assert (root.tag, [suite.get("name") for suite in root]) == ("testsuites", ["m", "n"])
    for suite, result in zip(root, results, strict=True):
        assert [case.get("name") for case in suite] == [found["name"] for found in result["checks"]]
        told = {case.get("name"): [child.tag for child in case] for case in suite}
        assert told["data-action-published"] == ["failure"]
        assert told["consumer-alive"] == ["skipped"]
        assert told["no-newer-draft"] == ["system-out"]
        assert told["action-map-active"] == []
        for name, tag in (("failures", "failure"), ("skipped", "skipped")):
            assert int(suite.get(name)) == len(suite.findall(f"*/{tag}"))
        assert (int(suite.get("tests")), suite.get("errors")) == (len(suite), "0")
    failure = root.find("*/*/failure")
    assert failure.get("message") == "the data action greet is a draft"
    assert "fix: publish it" in failure.text
    assert int(root.get("tests")) == sum(len(suite) for suite in root)


def test_what_xml_cannot_hold_is_replaced():
    results = [
        {"actionMap": "m", "checks": [{"name": "c", "status": "fail", "message": "a\x00\x1b\ud800<b", "fix": "&"}]}
    ]
    root = ElementTree.fromstring(as_junit(results).encode())
    assert root.find("*/*/failure").get("message") == "a\ufffd\ufffd\ufffd<b"


def test_without_any_map_the_report_is_empty():
    assert ElementTree.fromstring(as_junit([]).encode()).get("tests") == "0"
