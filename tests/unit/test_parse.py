"""Document → definition: what is wrong is told with its place, what was expected, and the nearest known word."""

from textwrap import dedent

import pytest
from shop import BASE, definitions

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document, read_documents
from actionmap.catalog.models import KINDS
from actionmap.catalog.parse import located, parse_definition, parse_documents
from actionmap.errors import DefinitionError, Finding

MAP = {"kind": "ActionMap", "name": "m", "trigger": {"event": "x"}, "action": {"webhook": "hello"}}
EXAMPLES = {
    "Integration": {"kind": "Integration", "name": "i", "baseUrl": "https://crm.example.com"},
    "DataAction": {"kind": "DataAction", "name": "d", "integration": "i", "contract": {"input": {"type": "object"}}},
    "Webhook": {"kind": "Webhook", "name": "w", "dataAction": "d"},
    "Segment": {"kind": "Segment", "name": "s", "when": {"key": "visitor.id", "operator": "exists"}},
    "ActionMap": MAP,
}
SECRET = "${ACTIONMAP_SECRET_X}"


def parse(data: object, kind: str | None = None):
    return parse_definition(Document(data=data), kind)


def refused(data: object, kind: str | None = None) -> list[Finding]:
    with pytest.raises(DefinitionError) as error:
        parse(data, kind)
    return list(error.value.findings)


def message(data: object) -> str:
    return "\n".join(map(str, refused(data)))


def put(kind: str, dotted: str, value: object) -> dict:
    """The example of ``kind`` with one field set, at a dotted path."""
    whole = {**EXAMPLES[kind]}
    part = whole
    *way, last = dotted.split(".")
    for key in way:
        part[key] = {**part.get(key, {})}
        part = part[key]
    part[last] = value
    return whole


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_definition_of_each_kind_is_taken(kind):
    definition = parse(EXAMPLES[kind])
    assert (definition.kind_name, definition.key) == (kind, f"{kind}/{EXAMPLES[kind]['name']}")
    assert {"kind": kind, **definition.as_written()} == EXAMPLES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_over_rest_the_kind_may_be_missing_but_not_another(kind):
    fields = {key: value for key, value in EXAMPLES[kind].items() if key != "kind"}
    assert parse(fields, kind) == parse(EXAMPLES[kind])
    other = "Segment" if kind != "Segment" else "Webhook"
    assert "expected" in str(refused(EXAMPLES[kind], other)[0])


@pytest.mark.parametrize("kind", ["ActionMpa", None, 5, ["ActionMap"], {"a": 1}, "", "actionmap"])
def test_an_unknown_kind_is_refused_with_those_there_are(kind):
    said = message({**MAP, "kind": kind})
    assert "expected one of Integration, DataAction, Webhook, Segment, ActionMap" in said
    if kind == "ActionMpa":
        assert "did you mean 'ActionMap'?" in said


@pytest.mark.parametrize("data", [None, [], "text", 5, [MAP]])
def test_a_definition_is_a_mapping(data):
    assert "a definition is a mapping" in message(data)


@pytest.mark.parametrize(
    ("kind", "dotted", "nearest"),
    [
        ("Integration", "baseUlr", "baseUrl"),
        ("Integration", "limits.concurency", "concurrency"),
        ("DataAction", "request.metod", "method"),
        ("DataAction", "contract.inputs", "input"),
        ("Webhook", "mapings", "mappings"),
        ("Webhook", "delivery.retry.attemps", "attempts"),
        ("Segment", "wen", "when"),
        ("ActionMap", "prioriy", "priority"),
        ("ActionMap", "trigger.were", "where"),
        ("ActionMap", "frequency.mx", "max"),
        ("ActionMap", "pageUrls.inlcude", "include"),
        ("ActionMap", "base_url", None),
        ("ActionMap", "start_date", None),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_one(kind, dotted, nearest):
    findings = refused(put(kind, dotted, {}))
    [finding] = [one for one in findings if "unknown field" in one.message or "does not stand" in one.message]
    assert finding.path == dotted
    assert finding.subject.startswith(f"{kind} ")
    if nearest:
        assert f"did you mean '{nearest}'?" in finding.message


@pytest.mark.parametrize(
    ("kind", "dotted", "value", "said"),
    [
        ("ActionMap", "priority", "hi", "'hi' is not one of low, medium, high; did you mean 'high'?"),
        ("ActionMap", "active", "yes", "active: input should be a valid boolean"),
        ("ActionMap", "name", "Bad Name", "'Bad Name' is no name"),
        ("ActionMap", "name", "a\n", "is no name"),
        ("ActionMap", "frequency", "sometimes", "'sometimes' is not 'every', or expected a mapping"),
        ("ActionMap", "frequency", {"max": 0}, "frequency.max"),
        ("ActionMap", "frequency", {"max": "2"}, "frequency.max"),
        ("ActionMap", "startDate", "soon", "'soon' is no RFC 3339 time"),
        ("ActionMap", "startDate", "2026-11-01T00:00:00", "needs its zone"),
        ("ActionMap", "startDate", "2026-11-01", "needs its zone"),
        (
            "ActionMap",
            "trigger",
            {},
            "a trigger is one of all, any, not, segment, segmentEntered, segmentLeft, event, count",
        ),
        ("ActionMap", "trigger", [], "a trigger is one of"),
        ("ActionMap", "trigger", {"all": []}, "trigger.all: an empty list is refused"),
        ("ActionMap", "trigger", {"not": {"any": []}}, "trigger.not.any: an empty list is refused"),
        ("ActionMap", "trigger", {"all": [{"event": "x"}], "event": "y"}, "trigger.event: 'event' does not stand here"),
        ("ActionMap", "trigger", {"event": "bad name"}, "trigger.event"),
        ("ActionMap", "trigger", {"key": "visitor.id", "values": "x"}, "trigger.values: expected a list"),
        (
            "ActionMap",
            "trigger",
            {"key": "visitor.id", "value": "x", "values": ["y"]},
            "give value or values, not both",
        ),
        ("ActionMap", "trigger", {"key": "visitor.id", "operator": "equals", "value": 1}, "did you mean 'equal'?"),
        ("ActionMap", "trigger", {"key": "visitor.id"}, "equal needs values"),
        ("ActionMap", "trigger", {"key": "visitor.id", "operator": "exists", "value": 1}, "exists takes no values"),
        (
            "ActionMap",
            "trigger",
            {"key": "visitor.id", "operator": "between", "values": [1]},
            "between takes two values, not 1",
        ),
        (
            "ActionMap",
            "trigger",
            {"key": "visitor.id", "operator": "lessThan", "values": [1, 2]},
            "lessThan takes one value, not 2",
        ),
        ("ActionMap", "trigger", {"count": {"event": "x", "atLeast": 1}}, "the field 'within' is missing"),
        ("ActionMap", "trigger", {"count": {"event": "x", "within": "session"}}, "count needs atLeast, atMost or both"),
        (
            "ActionMap",
            "trigger",
            {"count": {"event": "x", "within": "session", "atLeast": 3, "atMost": 2}},
            "atLeast: 3 is more than atMost: 2",
        ),
        (
            "ActionMap",
            "trigger",
            {"count": {"event": "x", "within": "session", "atLeast": -1}},
            "trigger.count.atLeast",
        ),
        ("ActionMap", "action", "hello", "action: expected a mapping"),
        ("ActionMap", "pageUrls", {"include": [{"key": "event.page.url", "value": "x"}]}, "'key' does not stand here"),
        ("Integration", "baseUrl", "crm.example.com", "is no http or https URL"),
        ("Integration", "baseUrl", "https://user:pw@crm.example.com", "do not belong in a URL"),
        ("Integration", "baseUrl", "https://crm.example.com/a?b=c", "no query"),
        ("Integration", "baseUrl", "https://{{ host }}/", "left of a name that is written out"),
        ("Integration", "baseUrl", "https://crm.example.com\n", "no spaces"),
        (
            "Integration",
            "auth",
            {"type": "bear"},
            "'bear' is not one of none, basic, bearer, apiKey, oauth2ClientCredentials; did you mean 'bearer'?",
        ),
        (
            "Integration",
            "auth",
            {"type": "bearer", "token": ""},
            "auth.token: a secret has 1 to 4096 characters",
        ),
        (
            "Integration",
            "auth",
            {"type": "bearer", "token": "${PATH}"},
            "auth.token: a reference is the whole text",
        ),
        ("Integration", "auth", {"type": "bearer", "token": SECRET + "\n"}, "auth.token: a secret has no line end"),
        ("Integration", "auth", {"type": "bearer", "token": f"x{SECRET}"}, "auth.token: a reference is the whole text"),
        ("Integration", "auth", {"type": "bearer"}, "auth.token: the field 'token' is missing"),
        ("Integration", "auth", {"type": "apiKey", "header": "X-A\n", "value": SECRET}, "is no header name"),
        ("Integration", "auth", {"type": "basic", "username": "a:b", "password": SECRET}, "auth.username"),
        ("Integration", "signing", {"scheme": "standardWebhooks"}, "standardWebhooks needs a secret to sign with"),
        ("Webhook", "mappings", {"a": {}}, "give exactly one of value and lookup"),
        ("Webhook", "mappings", {"a": {"value": 1, "lookup": "visitor.id"}}, "give exactly one of value and lookup"),
        ("Webhook", "mappings", {"a": {"value": 1, "onMissing": "omit"}}, "belong to a lookup"),
        ("Webhook", "mappings", {"a": {"lookup": "visitor.id", "onMissing": "default"}}, "needs default:"),
        ("Webhook", "mappings", {"a": {"lookup": "visitor.id", "onMissing": "omit", "default": 1}}, "contradicts"),
        ("Webhook", "mappings", {"a": {"lookup": "visitor.id", "onMissing": "ignore"}}, "is not one of sendNull"),
        ("Webhook", "delivery", {"retry": {"schedule": ["5x"]}}, "'5x' is no duration"),
        ("Webhook", "delivery", {"retry": {"schedule": ["5s\n"]}}, "is no duration"),
        ("Webhook", "delivery", {"retry": {"schedule": []}}, "an empty list is refused"),
        ("Webhook", "delivery", {"retry": {"attempts": 0}}, "delivery.retry.attempts"),
        ("DataAction", "response", {"successStatuses": ["2x"]}, "response.successStatuses.0"),
        ("DataAction", "response", {"successStatuses": []}, "an empty list is refused"),
        ("DataAction", "request", {"method": "post"}, "'post' is not one of GET, POST"),
        ("DataAction", "request", {"timeoutSeconds": 0}, "request.timeoutSeconds"),
    ],
)
def test_what_is_wrong_is_told_in_words_for_people(kind, dotted, value, said):
    text = message(put(kind, dotted, value))
    assert said in text
    for internal in ("tuple", "instance of", "validation", "Model", "constrained", "union"):
        assert internal not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_field_is_named_at_once(kind):
    needed = set(EXAMPLES[kind]) - {"kind"}
    assert {finding.path for finding in refused({"kind": kind})} == needed


def test_the_end_lies_after_the_start():
    dates = {"startDate": "2026-11-02T00:00:00Z", "endDate": "2026-11-01T23:59:00-01:00"}
    parse({**MAP, **dates})
    assert "endDate lies before startDate" in message(
        {**MAP, "startDate": dates["endDate"], "endDate": dates["startDate"]}
    )


def test_activation_may_be_the_bare_type():
    assert parse({**MAP, "activation": "immediate"}) == parse({**MAP, "activation": {"type": "immediate"}})


# --- what is acted on


def test_what_is_acted_on_is_not_refused():
    parse({**MAP, "mode": "live", "activation": "immediate", "frequency": {"max": 2, "per": "session", "scope": "map"}})
    parse({**EXAMPLES["Webhook"], "delivery": {"order": "bestEffort", "mode": "async", "logRequestBody": True,
                                                   "logResponseBody": True}})  # fmt: skip


# --- depth, and several documents


@pytest.mark.parametrize("levels", [60, 300, 900, 5000])
def test_a_definition_that_did_not_come_as_yaml_is_not_deeper_either(levels):
    when: dict = {"key": "visitor.id", "operator": "exists"}
    body: object = "x"
    for _ in range(levels):
        when, body = {"not": when}, [body]
    assert "nested more than 40 levels deep" in message({**EXAMPLES["Segment"], "when": when})
    assert "nested more than 40 levels deep" in message({**EXAMPLES["DataAction"], "request": {"body": body}})


def parse_text(text: str):
    return parse_documents(read_documents(dedent(text), "shop.yaml"))


def test_a_finding_names_file_line_and_definition():
    with pytest.raises(DefinitionError) as error:
        parse_text(
            """
            kind: Segment
            name: s
            when:
              all:
                - {key: visitor.id, operator: exists}
                - key: visitor.id
                  operator: exist
            """
        )
    [finding] = error.value.findings
    assert str(finding).startswith("shop.yaml:8: error: Segment s: when.all.1.operator: 'exist' is not one of equal, ")
    assert str(finding).endswith("did you mean 'exists'?")


@pytest.mark.parametrize("now", [1.0, True, 2], ids=str)
def test_a_definition_is_the_stored_one_only_when_its_document_says_the_very_same(now: object):
    written = {"kind": "Segment", "name": "s", "when": {"key": "visitor.score", "operator": "equal", "values": [1]}}
    stored, _ = parse_documents([Document(data=written)])

    def read(data: dict[str, object]):
        [found] = parse_documents([Document(data=data)], stored)[0].values()
        return found

    again = {"when": {"values": [1], "operator": "equal", "key": "visitor.score"}, "name": "s", "kind": "Segment"}
    assert read(again) is stored["Segment/s"]
    changed = read({**written, "when": {**written["when"], "values": [now]}})
    assert changed is not stored["Segment/s"]
    assert repr(changed.when.values) == repr((now,))
    with pytest.raises(DefinitionError, match="unknown field 'odd'"):
        read({**written, "odd": 1})


def test_two_definitions_of_one_name_are_refused_with_both_places():
    with pytest.raises(DefinitionError) as error:
        parse_text(
            """
            {kind: Segment, name: s, when: {segment: t}}
            ---
            {kind: Segment, name: t, when: {key: visitor.id, operator: exists}}
            ---
            kind: Segment
            name: s
            when: {segment: t}
            """
        )
    assert (
        str(error.value)
        == "shop.yaml:7: error: Segment s: name: there is already one of this kind and name at shop.yaml:2"
    )


def test_two_kinds_may_share_a_name():
    found, _ = parse_text("{kind: Webhook, name: a, dataAction: a}\n---\n{kind: Segment, name: a, when: {segment: a}}")
    assert sorted(found) == ["Segment/a", "Webhook/a"]


def test_all_findings_of_all_documents_come_at_once():
    with pytest.raises(DefinitionError) as error:
        parse_text("{kind: Segment, name: a}\n---\n{kind: Sgment}\n---\n{kind: Webhook, name: W, dataAction: d, x: 1}")
    assert [finding.line for finding in error.value.findings] == [1, 3, 5, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{kind: ActionMap, name: m, trigger: {event: x}, action: {webhook: helo}}",
            "ActionMap m: action.webhook: there is no Webhook 'helo'; did you mean 'hello'?",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {segment: knwon}, action: {webhook: hello}}",
            "ActionMap m: trigger.segment: there is no segment 'knwon'; did you mean 'known'?",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {all: [{event: x}, {not: {key: visitor.sesionCount, value: 1}}]}, action: {webhook: hello}}",  # noqa: E501
            "trigger.all.1.not.key: there is no path 'visitor.sesionCount'; did you mean 'visitor.sessionCount'?",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {event: x, where: [{key: event.page.path, value: 1}]}, action: {webhook: hello}}",  # noqa: E501
            "trigger.where.0.key: there is no path 'event.page.path'; did you mean 'event.page.pathname'?",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {key: actionMap.name, value: x}, action: {webhook: hello}}",
            "there is no path 'actionMap.name'",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {key: event.attributes, value: x}, action: {webhook: hello}}",
            "there is no path 'event.attributes'",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {key: event.attributes.a..b, value: x}, action: {webhook: hello}}",
            "there is no path 'event.attributes.a..b'",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {key: visitor.id, operator: matches, value: '('}, action: {webhook: hello}}",  # noqa: E501
            "trigger.values: '(' is no regular expression of RE2",
        ),
        (
            "{kind: ActionMap, name: m, trigger: {event: x}, action: {webhook: hello}, pageUrls: {exclude: [{operator: matches, value: '['}]}}",  # noqa: E501
            "pageUrls.exclude.0.values: '[' is no regular expression",
        ),
        (
            "{kind: Webhook, name: w, dataAction: gret, mappings: {}}",
            "there is no DataAction 'gret'; did you mean 'greet'?",
        ),
        (
            "{kind: DataAction, name: d, integration: cmr, contract: {input: {type: object}}}",
            "there is no Integration 'cmr'; did you mean 'crm'?",
        ),
        ("{kind: Segment, name: s, when: {event: x}}", "a segment has no event leaf; count the events"),
        (
            "{kind: Segment, name: s, when: {key: visitor.segments, value: known}}",
            "asks for another one with segment: NAME",
        ),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest_that_does(text, said):
    known = "{kind: Segment, name: known, when: {key: visitor.id, operator: exists}}"
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(definitions(BASE, known, text))
    assert said in str(error.value)


def test_findings_about_a_set_get_the_place_of_the_definition_they_are_about():
    found, sources = parse_text(
        "{kind: Segment, name: a, when: {segment: b}}\n---\n\nkind: Segment\nname: c\nwhen:\n  not:\n    segment: d\n"
    )
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(found)
    placed = located(error.value.findings, sources)
    assert [(finding.file, finding.line, finding.path) for finding in placed] == [
        ("shop.yaml", 1, "when.segment"),
        ("shop.yaml", 8, "when.not.segment"),
    ]


@pytest.mark.parametrize(
    ("kind", "dotted", "value", "said"),
    [
        ("DataAction", "request", {"headers": {"Host": "x"}}, "set by HTTP itself"),
        ("DataAction", "request", {"headers": {"authorization": "x"}}, "is set by actionmap"),
        ("DataAction", "request", {"headers": {"X-A": "${ACTIONMAP_SECRET_A}"}}, "only in auth and signing"),
        ("DataAction", "request", {"path": "https://other.example/x"}, "no scheme and no host"),
        ("DataAction", "request", {"path": "//other.example/x"}, "no scheme and no host"),
        ("Webhook", "delivery", {"idempotencyHeader": "Authorization"}, "is set by actionmap"),
        ("Integration", "baseUrl", "https://${ACTIONMAP_SECRET_A}.example.com", "only in auth and signing"),
        ("Integration", "signing", {"scheme": "none", "secret": "${ACTIONMAP_SECRET_A}"}, "takes no secret"),
    ],
)
def test_what_would_be_overwritten_or_never_come_is_refused(kind, dotted, value, said):
    assert said in message(put(kind, dotted, value))
