"""What a set of definitions compiles to but nobody can want."""

import json

import pytest
from shop import BASE, TEN, definitions

from actionmap.catalog.lint import lint
from actionmap.errors import Finding

MAP = "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}"


def findings(*texts: str, base: str = BASE) -> list[Finding]:
    return lint(definitions(base, *texts), now=TEN)


def only(severity: str, *texts: str, base: str = BASE) -> str:
    [finding] = findings(*texts, base=base)
    assert finding.severity == severity
    return str(finding)


def test_a_set_without_fault_has_no_findings():
    assert findings(MAP) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost",
        "http://crm.example.com",
        "https://127.1",
        "https://10.0.0.1",
        "https://crm.internal",
        "https://[::1]",
        "https://0x7f000001",
    ],
)
def test_an_inward_base_url_is_an_error(url):
    message = only("error", MAP, base=BASE.replace("https://crm.example.com", url))
    assert "Integration crm: baseUrl: " in message


def test_an_allowed_host_is_no_error():
    inward = definitions(BASE.replace("https://crm.example.com", "http://localhost:8000"), MAP)
    assert lint(inward, now=TEN, allow_hosts=["localhost"]) == []


def test_what_does_not_compile_is_an_error_and_inward_urls_are_told_as_well():
    found = findings(MAP.replace("hello", "helo"), base=BASE.replace("https://crm.example.com", "https://localhost"))
    assert [finding.severity for finding in found] == ["error", "error"]
    assert {finding.subject for finding in found} == {"ActionMap m", "Integration crm"}


@pytest.mark.parametrize("state", ["draft", "archived"])
def test_a_map_whose_webhook_would_never_be_sent_is_a_warning(state):
    base = BASE.replace("dataAction: greet\nstate: published", f"dataAction: greet\nstate: {state}")
    assert f"ActionMap m: action.webhook: matches but never fires: the webhook hello is {state}" in only(
        "warning", MAP, base=base
    )


def test_an_inactive_map_is_not_warned_about():
    base = BASE.replace("dataAction: greet\nstate: published", "dataAction: greet\nstate: draft")
    assert findings(MAP.replace("{kind", "{active: false, kind"), base=base) == []


LEVEL = "{key: visitor.sessionCount, operator: greaterThan, value: 1}"


@pytest.mark.parametrize(
    ("trigger", "frequency", "warned"),
    [
        (LEVEL, "every", True),
        ("{count: {event: x, atLeast: 1, within: session}}", "every", True),
        (LEVEL, "{max: 1}", False),
        (f"{{all: [{{event: x}}, {LEVEL}]}}", "every", False),
        ("{event: x}", "every", False),
    ],
)
def test_a_map_that_fires_at_every_event_is_a_warning(trigger, frequency, warned):
    text = f"{{kind: ActionMap, name: m, trigger: {trigger}, frequency: {frequency}, action: {{webhook: hello}}}}"
    assert [finding.path for finding in findings(text)] == (["frequency"] if warned else [])


def test_a_map_that_has_ended_is_a_warning():
    ended = MAP.replace("{kind", "{endDate: '2026-11-21T10:00:00Z', kind")
    assert "endDate: never fires again: it ended at 2026-11-21T10:00:00.000Z" in only("warning", ended)
    assert findings(ended.replace("10:00:00Z", "10:00:01Z")) == []


def test_a_map_that_asks_an_inactive_segment_is_a_warning():
    asleep = "{kind: Segment, name: asleep, active: false, when: {key: visitor.id, operator: exists}}"
    asking = MAP.replace("{event: page_viewed}", "{all: [{event: page_viewed}, {segment: asleep}]}")
    assert "asks the segment asleep, which is inactive" in only("warning", asleep, asking)


def test_a_path_that_nothing_sets_is_a_warning():
    where = MAP.replace("{event: page_viewed}", "{event: x, where: [{key: session.geolocation.country, value: DE}]}")
    assert "trigger.where.0.key: session.geolocation.country is never set" in only("warning", where)
    base = BASE.replace("lookup: visitor.id", "lookup: session.geolocation.country")
    assert "Webhook hello: mappings.who.lookup" in only("warning", MAP, base=base)
    described = MAP.replace("{kind", "{description: session.geolocation.country, kind")
    assert findings(described) == []


ANSWERING = BASE.replace(
    "state: published\ncontract:",
    "state: published\nresponse: {variables: {leadId: $.id}, onFailure: {broken: true}}\ncontract:",
)


@pytest.mark.parametrize("name", ["leadId", "leadId.inner.0", "broken"])
def test_a_variable_that_a_response_sets_is_no_warning(name):
    assert findings(action_map(trigger=variable(name)), base=ANSWERING) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leadID", "no data action's response sets the variable 'leadID'; did you mean 'leadId'?"),
        ("price", "no data action's response sets the variable 'price'"),
    ],
)
def test_a_variable_that_no_response_sets_is_a_warning_with_the_nearest_name(name, said):
    message = only("warning", action_map(trigger=variable(name)), base=ANSWERING)
    assert message.endswith(f"trigger.all.1.key: visitor.variables.{name} is never set: {said}")


def variable(name: str) -> dict:
    return {"all": [{"event": "e"}, {"key": f"visitor.variables.{name}", "operator": "exists"}]}


def outcome(path: str, *values: str, operator: str = "in", **more: object) -> dict:
    condition_ = {"key": f"event.attributes.{path}", "operator": operator, "values": list(values), **more}
    return {"event": "webhook_failed", "where": [condition_]}


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (outcome("webhook", "helo"), "never fires: there is no Webhook 'helo'; did you mean 'hello'?"),
        (outcome("actionMap", "nobody"), "never fires: there is no ActionMap 'nobody'"),
        ({"any": [{"event": "e"}, outcome("webhook", "nothing")]},
         "waits for an outcome that never comes: there is no Webhook 'nothing'"),
        ({"all": [{"event": "webhook_succeeded"}, {"key": "event.attributes.webhook", "value": "helo"}]},
         "never fires: there is no Webhook 'helo'; did you mean 'hello'?"),
    ],
)  # fmt: skip
def test_a_map_that_waits_for_the_outcome_of_what_does_not_exist_is_a_warning(trigger, said):
    assert only("warning", action_map(trigger=trigger)).endswith(f"ActionMap m: trigger: {said}")


@pytest.mark.parametrize(
    "trigger",
    [
        outcome("webhook", "hello"), outcome("webhook", "nothing", "hello"), outcome("actionMap", "m"),
        outcome("webhook", "HELLO", ignoreCase=True), outcome("webhook", "nothing", operator="notIn"),
        outcome("status", "503"), {"event": "e", "where": outcome("webhook", "nothing")["where"]},
    ],
)  # fmt: skip
def test_a_map_that_waits_for_an_outcome_there_may_be_is_no_warning(trigger):
    assert findings(action_map(trigger=trigger)) == []


def test_a_published_webhook_that_no_map_fires_is_a_warning():
    assert "Webhook hello: name: no active action map fires it" in only("warning")


# --- triggers that cannot hold


def action_map(name: str = "m", **fields: object) -> str:
    made = {"kind": "ActionMap", "name": name, "trigger": {"event": "e"}, "action": {"webhook": "hello"}}
    return json.dumps(made | fields)


def condition(key: str, operator: str, *values: object, **more: object) -> dict:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {}), **more}


PRICE, PATH, COUNT = "event.attributes.price", "event.page.pathname", "session.pageviewCount"


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([condition(PATH, "equal", "/a"), condition(PATH, "equal", "/b")], "equal '/a' and equal '/b' at once"),
        ([condition(PATH, "in", "/a", "/b"), condition(PATH, "notIn", "/a", "/b", "/c")], "at once"),
        ([condition(PATH, "equal", "/a"), condition(PATH, "startsWith", "/b")], "at once"),
        ([condition(PATH, "notExists"), condition(PATH, "startsWith", "/")], "at once"),
        ([condition(PATH, "exists"), {"not": condition(PATH, "exists")}], "at once"),
        ([condition(PRICE, "greaterThan", 10), condition(PRICE, "lessThan", 10)], "at once unless it is a list"),
        ([condition(COUNT, "greaterThan", 10), condition(COUNT, "lessThanOrEqual", 10)], "at once"),
        ([condition(COUNT, "lessThan", 10), condition(COUNT, "greaterThanOrEqual", 10)], "at once"),
        ([condition(COUNT, "between", 5, 4)], "cannot be between 5, 4"),
        ([{"event": "e"}, {"event": "f"}], "event.eventName cannot be"),
        ([condition(COUNT, "startsWith", "1")], "is a number, of which startsWith is never true"),
        ([condition(COUNT, "equal", "many")], "is a number, which 'many' is not"),
        ([condition("session.authenticated", "equal", "yes")], "is true or false"),
        ([condition(PRICE, "greaterThan", "cheap")], "orders what has no order"),
        ([{"any": [condition(PATH, "equal", "/a"), condition(PATH, "equal", "/b")]}, condition(PATH, "equal", "/c")],
         "at once"),
    ],
)  # fmt: skip
def test_a_map_whose_conditions_cannot_hold_together_never_fires(conditions, said):
    message = only("warning", action_map(trigger={"all": conditions}))
    assert "ActionMap m: trigger: never fires: " in message
    assert said in message


@pytest.mark.parametrize(
    "conditions",
    [
        [condition(PATH, "equal", "/a"), condition(PATH, "in", "/a", "/b")],
        [condition(PATH, "equal", "/a"), condition(PATH, "notEqual", "/b")],
        [condition("visitor.segments", "equal", "a"), condition("visitor.segments", "equal", "b")],
        [condition(PATH, "equal", "/a", ignoreCase=True), condition(PATH, "startsWith", "/A")],
        [condition(COUNT, "greaterThanOrEqual", 10), condition(COUNT, "lessThanOrEqual", 10)],
        [condition(COUNT, "equal", "10"), condition(COUNT, "greaterThan", 9)],
        [condition(PRICE, "equal", 10), condition(PRICE, "equal", "10.0")],
        [condition(PATH, "notExists"), condition(PATH, "notEqual", "/a")],
        [{"any": [condition(PATH, "equal", "/a"), condition(PATH, "equal", "/b")]}, condition(PATH, "equal", "/b")],
        [{"not": condition(COUNT, "startsWith", "1")}],
    ],
)
def test_conditions_that_may_hold_together_are_no_finding(conditions):
    assert findings(action_map(trigger={"all": [{"event": "e"}, *conditions]})) == []


def test_a_segment_whose_conditions_cannot_hold_together_never_has_members():
    when = {"all": [condition(COUNT, "greaterThan", 3), condition(COUNT, "lessThan", 2)]}
    never = json.dumps({"kind": "Segment", "name": "s", "when": when})
    assert "Segment s: when: never has members" in only("warning", never, action_map(trigger={"segment": "s"}))


# --- how and when


def test_a_schedule_that_never_opens_before_the_end_is_a_finding():
    monday = {"timezone": "UTC", "open": ["mon 09:00-10:00"]}
    assert findings(action_map(schedule=monday)) == []
    assert findings(action_map(schedule=monday, endDate="2026-11-24T00:00:00Z")) == []
    message = only("warning", action_map(schedule=monday, endDate="2026-11-22T00:00:00Z"))
    assert "schedule: never fires: it does not open before it ends at 2026-11-22" in message


IN_GROUP = {"exclusiveGroup": "g", "frequency": "every"}
SALE = {"event": "e", "where": [condition(PATH, "startsWith", "/sale")]}


@pytest.mark.parametrize(
    ("winner", "other"),
    [
        ({"priority": "high"}, {}),
        ({"priority": "high"}, {"trigger": {"all": [{"event": "e"}, {"segment": "s"}]}}),
        ({"priority": "high", "trigger": SALE}, {"trigger": {"all": [SALE, condition(PRICE, "exists")]}}),
        ({}, {"name": "z"}),
    ],
)
def test_a_map_that_another_one_of_its_group_always_comes_before_is_a_finding(winner, other):
    segment = "{kind: Segment, name: s, when: {key: visitor.customerId, operator: exists}}"
    asks = action_map("other", trigger={"segment": "s"})
    found = findings(
        segment, asks, action_map("a", **IN_GROUP | winner), action_map(**{"name": "m"} | IN_GROUP | other)
    )
    assert ["exclusiveGroup: never fires: whenever it matches, a does too" in str(one) for one in found] == [True]


@pytest.mark.parametrize(
    "winner",
    [
        {"frequency": {"max": 1, "per": "session"}}, {"holdoutPercent": 10}, {"endDate": "2027-01-01T00:00:00Z"},
        {"schedule": {"timezone": "UTC", "open": ["mon 09:00-10:00"]}}, {"exclusiveGroup": "other"},
        {"trigger": SALE}, {"pageUrls": {"exclude": [{"value": "x"}]}}, {"active": False},
        {"trigger": {"any": [{"event": "e", "where": [condition(PRICE, "equal", n)]} for n in range(70)]}},
    ],
)  # fmt: skip
def test_a_map_that_sometimes_comes_first_is_no_finding(winner):
    assert findings(action_map("a", **IN_GROUP | {"priority": "high"} | winner), action_map(**IN_GROUP)) == []


def test_the_cap_of_a_group_of_one_is_a_finding():
    alone = action_map(exclusiveGroup="g", frequency={"max": 1, "scope": "group"})
    assert "the cap is this map's own" in only("warning", alone)
    assert findings(alone, action_map("other", exclusiveGroup="g", trigger={"event": "f"})) == []


@pytest.mark.parametrize(
    "trigger",
    [
        {"segmentEntered": "s"},
        {"all": [{"segmentLeft": "s"}, condition(COUNT, "exists")]},
        {"sequence": {"steps": [{"event": "a"}, {"event": "b"}], "within": "1h"}},
    ],
)
def test_what_asks_for_a_change_needs_no_cap(trigger):
    segment = "{kind: Segment, name: s, when: {key: visitor.customerId, operator: exists}}"
    rest = [segment, action_map("asks", trigger={"segment": "s"})]
    assert findings(*rest, action_map(trigger=trigger, frequency="every")) == []


# --- updates

UPDATE = BASE.replace("{who: {type: string}}}", "{who: {type: string}, what: {type: string}}}\nrequest: %s").replace(
    "mappings: {who: {lookup: visitor.id}}", "mappings: {who: %s, what: {lookup: event.attributes.what}}"
)
MAYBE = "{lookup: visitor.traits.email}"


@pytest.mark.parametrize(
    "request_",
    [
        "{method: PUT, path: '/contacts/{{ who }}'}",
        "{method: PATCH, path: '/contacts/{{ who | lower }}', body: {x: '{{ what }}'}}",
        "{method: PUT, path: /contacts, params: {email: '{{ who }}'}}",
        "{method: PUT, path: /contacts, body: {list: [{email: '{{ who }}'}]}}",
        "{method: PUT, path: /contacts}",
    ],
)
def test_an_update_without_an_identifier_that_must_be_there_is_a_finding(request_):
    message = only("warning", MAP, base=UPDATE % (request_, MAYBE))
    assert "Webhook hello: mappings.who: " in message
    assert "updates a record" in message
    assert "give the one that does onMissing: skip" in message
    assert only("warning", MAP, base=UPDATE % (request_, "{lookup: visitor.traits.email, default: none}"))
    for there in ("{lookup: visitor.traits.email, onMissing: skip}", "{lookup: visitor.id}"):
        assert findings(MAP, base=UPDATE % (request_, there)) == []


@pytest.mark.parametrize(
    "request_",
    [
        "{method: POST, path: '/contacts/{{ who }}'}",
        "{method: DELETE, path: '/contacts/{{ who }}'}",
        "{method: PUT, path: /settings, body: {on: true}}",
    ],
)
def test_what_updates_no_record_of_a_visitor_needs_no_identifier(request_):
    assert findings(MAP, base=UPDATE % (request_, MAYBE)) == []


def test_an_update_of_one_record_that_is_written_out_is_no_finding():
    assert findings(MAP, base=UPDATE % ("{method: PUT, path: '/counters/{{ who }}'}", "{value: visits}")) == []


def test_a_finding_about_an_update_names_file_and_line():
    from textwrap import dedent

    from actionmap.catalog.documents import read_documents
    from actionmap.catalog.parse import located, parse_documents

    text = dedent(UPDATE) % ("{method: PUT, path: '/contacts/{{ who }}'}", MAYBE) + "---\n" + MAP
    known, sources = parse_documents(read_documents(text, "shop.yaml"))
    [finding] = located(lint(known, now=TEN), sources)
    assert (finding.file, finding.line) == ("shop.yaml", text[: text.index("mappings:")].count("\n") + 1)


# --- nulls

REQUIRED = BASE.replace("input: {type: object, properties: {who: {type: string}}}",
                        "input: {type: object, required: [who], properties: {who: {type: %s}}}")  # fmt: skip


def test_a_null_for_a_field_that_has_to_have_a_value_is_a_finding():
    base = REQUIRED.replace("visitor.id}", "visitor.traits.email%s}")
    message = only("warning", MAP, base=base % ("string", ""))
    assert "Webhook hello: mappings.who.lookup: the contract requires a value" in message
    assert "give it onMissing: skip, or a default" in message
    for kind, how in (("string", ", onMissing: skip"), ("string", ", default: x"), ("string", ", onMissing: omit"),
                      ("[string, 'null']", "")):  # fmt: skip
        assert findings(MAP, base=base % (kind, how)) == []
    assert findings(MAP, base=REQUIRED % "string") == []
    assert findings(MAP, base=BASE.replace("visitor.id", "visitor.traits.email")) == []


# --- segments and lookups


def test_a_segment_that_nobody_asks_is_a_finding():
    asked = "{kind: Segment, name: asked, when: {segment: inner}}"
    inner = "{kind: Segment, name: inner, when: {key: visitor.customerId, operator: exists}}"
    unused = inner.replace("inner", "unused")
    some = action_map(trigger={"not": {"segment": "asked"}}, frequency={"max": 1})
    assert "Segment unused: name: no active action map asks it" in only("warning", asked, inner, unused, some)
    sends = BASE.replace("{type: string}", "{}").replace("visitor.id}", "visitor.segments}")
    assert not any("asks it" in str(one) for one in findings(unused, action_map(), base=sends))


@pytest.mark.parametrize(
    ("lookup", "kind", "never"),
    [
        ("visitor.segments", "string", True), ("session.searchTerms", "integer", True),
        ("session.authenticated", "number", True), ("visitor.firstSeenAt", "integer", True),
        ("session.pageviewCount", "boolean", True), ("session.pageviewCount", "string", False),
        ("visitor.firstSeenAt", "string", False), ("visitor.traits.x", "boolean", False),
    ],
)  # fmt: skip
def test_a_lookup_whose_values_never_become_the_contracts_type_is_an_error(lookup, kind, never):
    base = BASE.replace("{type: string}", f"{{type: {kind}}}").replace("visitor.id", lookup)
    found = [str(one) for one in findings(action_map(), base=base)]
    assert sum(f"error: Webhook hello: mappings.who.lookup: {lookup} is a" in one for one in found) == never, found
