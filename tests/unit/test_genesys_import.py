"""What becomes of a Genesys tenant's definitions: carried over as meant, left open, or refused with a reason."""

import json
from pathlib import Path

import pytest

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import Document
from actionmap.catalog.parse import parse_documents
from actionmap.errors import DefinitionError
from actionmap.genesys import import_tenant, read
from actionmap.genesys.hcl import Expression, read_hcl
from actionmap.genesys.reading import ACTION_MAP, DATA_ACTION, SEGMENT, Resource

TENANT = Path(__file__).parent / "genesys"
NOW = 1_800_000_000_000
FLOW = {"media_type": "architectFlow", "architect_flow_fields": [{"architect_flow_id": "f1"}]}
WEB = {"stream_type": "Web", "session_type": "web"}


def condition(event, key="page.url", values=("x",), **more):
    return {"key": key, "values": list(values), "event_name": event, **WEB, **more}


def segment(label="s", **body):
    return Resource("t.tf", SEGMENT, label, {"display_name": label, "color": "#008000", **body})


def pattern(count=1, event="page_viewed", key="page.url", values=("x",), **more):
    criteria = [{"key": key, "values": list(values), "operator": "equal", "should_ignore_case": False}]
    return {"criteria": criteria, "count": count, "event_name": event, **WEB, **more}


def action_map(label="m", **body):
    body = {
        "action": [FLOW],
        "activation": [{"type": "immediate"}],
        "trigger_with_event_conditions": [condition("a_b")],
        **body,
    }
    return Resource(
        "t.tf", ACTION_MAP, label, {"display_name": label, "start_date": "2026-07-04T12:00:00.000000", **body}
    )


def data_action(url="https://crm.example.com/leads", template="", headers=None, fields=None, **body):
    request = {
        "request_url_template": url,
        "request_type": "POST",
        "request_template": template,
        "headers": headers or {},
    }
    properties = fields or {"x": {"type": "string"}, "n": {"type": "integer"}}
    body = {
        "contract_input": {"type": "object", "properties": properties},
        "contract_output": {},
        "config_request": [request],
        **body,
    }
    return Resource("t.tf", DATA_ACTION, "d", {"name": "d", "category": "c", **body})


def imported(*resources):
    result = import_tenant(resources, now=NOW)
    made = {definition.key: definition.as_written() for definition, _ in result.definitions}
    return made, result.report


def outcome_of(*resources):
    made, report = imported(*resources)
    return made, report.outcomes[-1]


def todo(outcome):
    return " | ".join(f"{one.path}: {one.todo}" for one in outcome.decisions)


def test_a_tenant_becomes_definitions_that_load():
    result = import_tenant(read([TENANT]), now=NOW)
    documents = [Document(data={"kind": one.kind_name, **one.as_stored()}) for one, _ in result.definitions]
    definitions, _ = parse_documents(documents)
    compile_rulebook(definitions)
    assert len(definitions) == 12
    assert [str(found) for found in result.report.findings if found.severity == "error"] == []


def test_nothing_fires_by_import():
    made, _ = imported(*read([TENANT]))
    kinds = ("ActionMap/", "Integration/")
    assert [key for key, fields in made.items() if key.startswith(kinds) and fields["active"]] == []
    assert [key for key, fields in made.items() if fields.get("state", "draft") != "draft"] == []


def test_no_credential_of_an_export_is_carried_over_or_shown():
    result = import_tenant(read([TENANT]), now=NOW)
    everything = repr(result.definitions) + json.dumps(result.report.as_json())
    assert "pat-na1" not in everything
    assert "${ACTIONMAP_SECRET_CRM_EXAMPLE_COM}" in everything


@pytest.mark.parametrize("place", ["url", "body", "basic", "user"])
def test_a_credential_is_found_wherever_it_is_written_out(place):
    written = {
        "url": {"url": "https://crm.example.com/leads?api_key=s3cret&x=${input.x}"},
        "body": {"template": '{"apiKey": "s3cret", "x": "${input.x}"}'},
        "basic": {"headers": {"Authorization": "Basic s3cret"}},
        "user": {"url": "https://me:s3cret@crm.example.com/leads"},
    }[place]
    result = import_tenant([data_action(**written)], now=NOW)
    assert result.report.outcomes[0].decisions
    assert "s3cret" not in repr(result.definitions) + json.dumps(result.report.as_json())


def test_every_resource_is_in_the_report():
    resources = read([TENANT])
    report = import_tenant(resources, now=NOW).report
    assert len(report.outcomes) + sum(report.others.values()) == len(resources)
    assert report.others == {"genesyscloud_user": 1}
    assert [one.resource.label for one in report.outcomes if one.reason] == ["invitation"]


def test_a_field_that_is_not_known_is_told_not_dropped():
    _, outcome = outcome_of(segment(journey=[{"patterns": [pattern()]}], mystery="x"))
    assert "mystery" in todo(outcome)


def test_all_keys_of_contexts_and_journeys_have_paths_but_the_organisation_of_an_address():
    journey = (
        "eventName page.url page.title page.hostname page.domain page.fragment page.keywords page.pathname searchQuery"
    )
    for key in [*journey.split(), "page.queryString", "attributes.plan.value"]:
        made, outcome = outcome_of(segment(journey=[{"patterns": [pattern(key=key)]}]))
        assert outcome.status == "imported", key
    visit = {"entity_type": "visit", "values": ["x"], "should_ignore_case": True}
    for key in ("device.osFamily", "browser.lang", "mktCampaign.clickId", "referrer.hostname", "authenticated"):
        made, _ = outcome_of(segment(context=[{"patterns": [{"criteria": [{"key": key, **visit}]}]}]))
        assert made["Segment/s"]["when"] == {
            "key": f"session.{key}",
            "operator": "equal",
            "values": ["x"],
            "ignoreCase": True,
        }
    _, outcome = outcome_of(segment(context=[{"patterns": [{"criteria": [{"key": "ipOrganization", **visit}]}]}]))
    assert "ipOrganization" in outcome.reason


def test_what_asks_for_a_place_is_left_open_because_none_is_known():
    visit = {"key": "geolocation.country", "entity_type": "visit", "values": ["DE"], "should_ignore_case": False}
    made, outcome = outcome_of(segment(context=[{"patterns": [{"criteria": [visit]}]}]))
    assert "GeoIP" in todo(outcome)
    assert made["Segment/s"]["active"] is False


def test_a_pattern_counts_in_the_session_or_over_all_that_is_known_of_a_customer():
    for scope, window in (("Session", "session"), ("Customer", "lifetime")):
        made, _ = outcome_of(segment(scope=scope, journey=[{"patterns": [pattern(count=3, event="cart_added")]}]))
        count = made["Segment/s"]["when"]["count"]
        assert (count["event"], count["atLeast"], count["within"]) == ("cart_added", 3, window)


def test_a_pattern_that_names_its_event_by_a_criterion_needs_no_decision():
    made, outcome = outcome_of(
        segment(journey=[{"patterns": [pattern(event=None, key="eventName", values=["cart_added"])]}])
    )
    assert outcome.status == "imported"
    assert made["Segment/s"]["when"] == {"count": {"event": "cart_added", "atLeast": 1, "within": "session"}}


def test_the_order_of_patterns_is_a_decision():
    _, outcome = outcome_of(segment(journey=[{"patterns": [pattern(), pattern(event="cart_added")]}]))
    assert "one after the other" in todo(outcome)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"journey": [{"patterns": [pattern(stream_type="Conversation")]}]}, "Conversation"),
        ({"journey": [{"patterns": [pattern(count=0)]}]}, "0 times"),
        ({"journey": [{"patterns": [pattern(event="two words")]}]}, "no name of an event"),
        ({"journey": [{"patterns": [pattern(key="page.titleChanged")]}]}, "page.titleChanged"),
        ({"journey": [{"patterns": [pattern()]}], "for_each": "x"}, "for_each"),
        ({}, "nobody would ever be in it"),
    ],
)
def test_a_segment_that_cannot_be_expressed_says_why(written, reason):
    made, outcome = outcome_of(segment(**written))
    assert made == {}
    assert reason in outcome.reason


def test_what_only_terraform_can_compute_is_refused_and_not_halved():
    dynamic = [{"patterns": [{**pattern(), "dynamic": [{"criteria": [{}]}]}]}]
    for body in ({"journey": dynamic}, {"context": "x", "journey": [{"patterns": [pattern()]}]}):
        made, outcome = outcome_of(segment(**body))
        assert made == {}
        assert outcome.reason
    _, outcome = outcome_of(segment(journey=[{"patterns": [pattern(mystery=1)]}]))
    assert "mystery" in todo(outcome)


def test_a_map_asks_for_any_of_its_segments():
    parts = [segment(name, journey=[{"patterns": [pattern()]}]) for name in ("one", "two")]
    wanted = [f"{SEGMENT}.one.id", f"{SEGMENT}.two.id"]
    made, _ = outcome_of(*parts, action_map(trigger_with_segments=wanted, trigger_with_event_conditions=[]))
    assert made["ActionMap/m"]["trigger"] == {"any": [{"segment": "one"}, {"segment": "two"}]}


def test_a_map_whose_segment_was_not_imported_is_not_either():
    made, outcome = outcome_of(action_map(trigger_with_segments=["f2c74231-04a3-4720-88d3-1e974ce4c96e"]))
    assert made == {}
    assert "f2c74231" in outcome.reason


def test_conditions_on_one_event_are_one_and_on_several_a_sequence():
    made, _ = outcome_of(action_map(trigger_with_event_conditions=[condition("a_b"), condition("a_b", "page.title")]))
    assert [one["key"] for one in made["ActionMap/m"]["trigger"]["where"]] == ["event.page.url", "event.page.title"]
    made, outcome = outcome_of(action_map(trigger_with_event_conditions=[condition("a_b"), condition("c_d")]))
    assert [one["event"] for one in made["ActionMap/m"]["trigger"]["sequence"]["steps"]] == ["a_b", "c_d"]
    assert "keeps no order" in todo(outcome)


@pytest.mark.parametrize("kind", ["probability", "quantile"])
def test_a_map_triggered_by_outcomes_cannot_be(kind):
    written = {f"trigger_with_outcome_{kind}_conditions": [{"outcome_id": "x"}]}
    made, outcome = outcome_of(action_map(**written))
    assert made == {}
    assert "outcome" in outcome.reason


@pytest.mark.parametrize("media", ["webchat", "webMessagingOffer", "contentOffer", "openAction"])
def test_a_map_that_shows_something_on_the_page_cannot_be(media):
    made, outcome = outcome_of(action_map(action=[{"media_type": media}]))
    assert made == {}
    assert media in outcome.reason


def test_how_and_when_map_one_to_one():
    made, _ = outcome_of(
        action_map(weight=3, activation=[{"type": "delay", "delay_in_seconds": 90}], end_date="2027-08-01T10:30:00.5")
    )
    written = made["ActionMap/m"]
    assert written["priority"] == "high"
    assert written["activation"] == {"type": "delay", "delaySeconds": 90}
    assert (written["startDate"], written["endDate"]) == ("2026-07-04T12:00:00.000Z", "2027-08-01T10:30:00.500Z")
    for theirs, ours in (("on-next-visit", "onNextVisit"), ("on-next-session", "onNextSession")):
        made, _ = outcome_of(action_map(activation=[{"type": theirs}]))
        assert made["ActionMap/m"]["activation"] == {"type": ours}


def test_pages_that_are_left_out_are_excluded_and_schedules_are_decisions():
    urls = [{"operator": "notContainsAny", "values": ["/jobs"]}]
    groups = [{"action_map_schedule_group_id": "genesyscloud_architect_schedulegroups.open.id"}]
    made, outcome = outcome_of(action_map(page_url_conditions=urls, action_map_schedule_groups=groups))
    assert made["ActionMap/m"]["pageUrls"] == {"exclude": [{"operator": "containsAny", "values": ["/jobs"]}]}
    assert "schedulegroups.open" in todo(outcome)


def test_a_mapping_is_typed_and_a_lookup_that_is_not_known_is_left_open():
    mappings = [
        {"name": "i", "attribute_type": "Integer", "mapping_type": "HardCoded", "value": "999"},
        {"name": "b", "attribute_type": "Boolean", "mapping_type": "HardCoded", "value": "true"},
        {"name": "s", "attribute_type": "String", "mapping_type": "Lookup", "value": "session.mktCampaign.source"},
        {"name": "u", "attribute_type": "String", "mapping_type": "Lookup", "value": "session.shortId"},
    ]
    flow = {
        "media_type": "architectFlow",
        "architect_flow_fields": [{"architect_flow_id": "f", "flow_request_mappings": mappings}],
    }
    made, outcome = outcome_of(action_map(action=[flow]))
    written = made["Webhook/m"]["mappings"]
    assert written["i"] == {"value": 999}
    assert written["b"] == {"value": True}
    assert written["s"] == {"lookup": "session.mktCampaign.source"}
    assert "session.shortId" in todo(outcome)


def test_every_field_of_the_data_action_is_mapped():
    fields = {"integration_action_id": f"{DATA_ACTION}.d.id", "request_mappings": []}
    made, outcome = outcome_of(
        data_action(), action_map(action=[{"media_type": "integrationAction", "integration_action_fields": [fields]}])
    )
    assert made["Webhook/m"]["dataAction"] == "d"
    assert set(made["Webhook/m"]["mappings"]) == {"x", "n"}
    assert "mappings.x" in todo(outcome)


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ('{"a": "${input.x}", "b": ${input.n}}', {"a": "{{ x }}", "b": "{{ n }}"}),
        ('{"a": "Dear $input.x!", "b": [$!{input.n}, 1]}', {"a": "Dear {{ x }}!", "b": ["{{ n }}", 1]}),
        ('{"a": "$esc.jsonString(${input.x})"}', {"a": "{{ x }}"}),
        ('{"a": "${esc.jsonString(input.x)}", "b": {"c": {}}}', {"a": "{{ x }}", "b": {"c": {}}}),
        ("${input.rawRequest}", None),
    ],
)
def test_a_template_that_puts_values_in_is_translated(template, body):
    made, _ = outcome_of(data_action(template=template))
    assert made["DataAction/d"]["request"].get("body") == body


@pytest.mark.parametrize(
    "template",
    [
        '#if($input.x == "a"){"a":1}#end',
        '{"a": $input.x.toUpperCase(}',
        '{"a": "${credentials.k}"}',
        '{"a": "{{ x }}"}',
        '{"a": ',
    ],
)
def test_a_template_that_does_more_is_left_open(template):
    made, outcome = outcome_of(data_action(template=template))
    assert "body" not in made["DataAction/d"]["request"]
    assert "request.body" in todo(outcome)


def test_an_address_is_taken_apart():
    url = "https://crm.example.com/v1/$esc.url(${input.x})/leads?n=${input.n}&source=a%20b"
    made, _ = outcome_of(data_action(url=url))
    request = made["DataAction/d"]["request"]
    assert made["Integration/crm-example-com"]["baseUrl"] == "https://crm.example.com"
    assert request["path"] == "/v1/{{ x }}/leads"
    assert request["params"] == {"n": "{{ n }}", "source": "a b"}


@pytest.mark.parametrize("url", ["/api/v2/users/${input.x}", "https://${input.x}/a", "${credentials.url}/a", ""])
def test_an_address_that_is_not_known_leads_nowhere(url):
    made, outcome = outcome_of(data_action(url=url))
    assert next(one for key, one in made.items() if key.startswith("Integration/"))["baseUrl"].endswith(".invalid")
    assert "baseUrl" in todo(outcome)


def test_a_form_and_a_document_of_xml_are_bodies_too():
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    made, _ = outcome_of(data_action(template="a=${input.x}&b=c+d", headers=form))
    assert made["DataAction/d"]["request"]["body"] == {"a": "{{ x }}", "b": "c d"}
    assert made["DataAction/d"]["request"]["contentType"] == "formEncoded"
    made, _ = outcome_of(data_action(template="<a>${input.x}</a>", headers={"Content-Type": "text/xml"}))
    assert made["DataAction/d"]["request"]["body"] == "<a>{{ x }}</a>"


def test_a_map_that_cannot_be_leaves_nothing_of_what_was_made_for_it_behind():
    made, outcome = outcome_of(action_map(start_date="yesterday"))
    assert made == {}
    assert "yesterday" in outcome.reason


def test_a_comment_with_half_a_bracket_is_no_depth(tmp_path):
    (tmp_path / "a.tf").write_text("# a literal ${\n" * 300 + (TENANT / "shop.tf").read_text())
    assert len(read([tmp_path])) == 7


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"fields": {"rawRequest": {"type": "string"}}}, "rawRequest"),
        ({"fields": {"x": {"type": "object"}}}, "contract.input.properties.x"),
        ({"contract_input": "{"}, "no JSON"),
        ({"function_config": [{"file_path": "f.zip"}]}, "function"),
        ({"template": '{"a": "${input.zzz}"}'}, "zzz"),
    ],
)
def test_a_data_action_that_cannot_be_expressed_says_why_and_leaves_nothing_behind(written, reason):
    made, outcome = outcome_of(data_action(**written))
    assert made == {}
    assert reason in outcome.reason


def test_names_that_collide_are_told():
    made, report = imported(
        *(segment(name, journey=[{"patterns": [pattern()]}]) for name in ("Größe L", "grosse l", "GROSSE-L"))
    )
    assert len(made) == 3
    assert any("is called" in note for outcome in report.outcomes for note in outcome.notes)


def test_terraform_in_json_says_the_same(tmp_path):
    body = {"display_name": "s", "color": "#008000", "journey": [{"patterns": [pattern()]}]}
    (tmp_path / "a.tf.json").write_text(json.dumps({"resource": {SEGMENT: {"s": body}}}))
    request = {"request_url_template": "https://a.example.com/$${input.x}", "request_type": "GET"}
    schema = '${jsonencode({"type" = "object", "properties" = {"x" = {"type" = "string"}}})}'
    action = {"name": "d", "config_request": [request], "contract_input": schema, "contract_output": "{}"}
    (tmp_path / "b.tf.json").write_text(json.dumps({"resource": [{DATA_ACTION: {"d": [action]}}]}))
    made, _ = imported(*read([tmp_path]))
    assert set(made) == {"Segment/s", "DataAction/d", "Integration/a-example-com"}
    assert made["DataAction/d"]["request"]["path"] == "/{{ x }}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tf", b'resource "genesyscloud_journey_segment" "x" {'),
        ("a.tf", b"\xff\xfe"),
        ("a.tf", b"x = " + b"[" * 100_000),
        ("a.json", b"[" * 100_000 + b"]" * 100_000),
        ("a.json", b"{"),
        ("a.tf", b"# nothing here\n"),
    ],
)
def test_a_broken_file_is_told_by_name_and_nothing_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DefinitionError):
        read([tmp_path])


@pytest.mark.parametrize("junk", [None, 1, True, "x", [], ["x"], {}, {"a": [1]}, [[{}]]])
def test_no_resource_of_the_wrong_shape_ends_the_import(junk):
    """Whatever stands where the schema has something else, the resource has an outcome."""
    more = "context journey scope external_segment page_url_conditions weight config_response trigger_with_segments"
    keys = {name for made in (segment(), action_map(), data_action()) for name in made.body} | {*more.split()}
    for key in keys:
        for whole in (segment(journey=[{"patterns": [pattern()]}]), action_map(), data_action()):
            _, report = imported(Resource("t.tf", whole.type, "x", {**whole.body, key: junk}))
            assert len(report.outcomes) == 1
    for inner in ("criteria", "patterns", "headers", "translation_map", "values", "key", "properties"):
        for whole in (segment(journey=[{"patterns": [pattern()]}]), action_map(), data_action()):
            imported(Resource("t.tf", whole.type, "x", replaced(whole.body, inner, junk)))


def replaced(value, name, junk):
    if isinstance(value, dict):
        return {key: junk if key == name else replaced(inner, name, junk) for key, inner in value.items()}
    return [replaced(inner, name, junk) for inner in value] if isinstance(value, list) else value


def test_heredocs_escapes_and_references_are_read_as_terraform_reads_them():
    text = """
resource "genesyscloud_integration_action" "d" {
  name           = "a \\"quoted\\" name"
  contract_input = <<-EOT
    {"type": "object", "properties": {"x": {"type": "string"}}}
  EOT
  contract_output = "{}"
  config_request {
    request_type         = "GET"
    request_url_template = "https://a.example.com/$${input.x}"
    headers              = { "X-Stage" = var.stage }
  }
}
"""
    body = read_hcl(text)["resource"][0][DATA_ACTION]["d"]
    assert body["name"] == 'a "quoted" name'
    assert json.loads(body["contract_input"])["type"] == "object"
    assert body["config_request"][0]["request_url_template"] == "https://a.example.com/${input.x}"
    assert body["config_request"][0]["headers"] == {"X-Stage": Expression("var.stage")}


def test_an_integration_is_told_with_a_data_action_that_was_imported():
    bad = data_action(template='{"a": "${input.zzz}"}')
    made, report = imported(bad, Resource("t.tf", DATA_ACTION, "e", {**data_action().body, "name": "e"}))
    assert set(made) == {"DataAction/e", "Integration/crm-example-com"}
    assert [one.definitions for one in report.outcomes] == [[], ["DataAction/e", "Integration/crm-example-com"]]
