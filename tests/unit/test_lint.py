"""What a set of definitions compiles to but nobody can want."""

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


def test_a_published_webhook_that_no_map_fires_is_a_warning():
    assert "Webhook hello: name: no active action map fires it" in only("warning")
