"""Templates of texts, JSON bodies, paths, params and headers: what a visitor sends is only ever a value."""

import json
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import definitions, event, live

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.templates import (
    BadTemplate,
    compile_body,
    compile_headers,
    compile_params,
    compile_path,
    compile_text,
)
from actionmap.errors import DefinitionError, Unrenderable

FIELDS = ("email", "score", "first_name", "a-b")


def body(template: object, **values: object) -> object:
    return json.loads(compile_body("json", template, FIELDS)(values, "am1_x").data)


def path(template: str, **values: object) -> str:
    return compile_path(template, FIELDS)(values)


def query(params: dict[str, str], **values: object) -> list[tuple[str, str]]:
    return parse_qsl(compile_params(params, FIELDS)(values), keep_blank_values=True)


# --- bodies


@pytest.mark.parametrize("value", ["text", "", 10, 10.5, True, False, None])
@pytest.mark.parametrize("place", ["{{ email }}", "{{email}}", "{{   email }}", "{{\temail\n}}"])
def test_a_field_alone_keeps_its_type(place, value):
    made = body({"x": place}, email=value)
    assert (made, type(made["x"])) == ({"x": value}, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [(10, "10"), (10.0, "10"), (10.5, "10.5"), (True, "true"), (None, ""), ("é", "é"), (1e21, "1" + "0" * 21)],
)
def test_mixed_with_text_a_field_becomes_text(value, text):
    assert body("<{{ score }}>", score=value) == f"<{text}>"


def test_several_fields_stand_in_one_text():
    assert body("{{ email }}-{{score}}", email="a", score=1) == "a-1"


def test_a_field_that_is_left_out_takes_its_key_and_its_place_along():
    template = {
        "a": "{{ email }}",
        "b": ["{{ email }}", 1, {"c": "{{ email }}"}],
        "d": "<{{ email }}>",
        "e": "{{ score }}",
    }
    assert body(template, score=None) == {"b": [1, {}], "d": "<>", "e": None}
    assert body("{{ email }}") is None


def test_what_holds_no_field_stays_as_it_is():
    template = {"n": 1, "f": 1.5, "t": True, "z": None, "s": "text { } %s $x", "l": [1, [2]]}
    assert body(template) == template


@pytest.mark.parametrize(
    "evil",
    [
        "{{7*7}}",
        "{{ score }}",
        "{{email}}",
        '","admin":true,"x":"',
        "${ACTIONMAP_SECRET_CRM}",
        "</x>",
        "\u2028",
        "\\",
        "{%raw%}",
        "{0}",
        "%(a)s",
        "\x00",
    ],
)
def test_what_a_visitor_sends_is_only_ever_a_value(evil):
    rules = compile_rulebook(definitions(CHAIN))
    [decision] = live(rules, event(traits={"email": evil}))
    [delivery] = decision.deliveries
    assert json.loads(delivery.body) == {"lead": {"email": evil, "note": f"of {evil}", "admin": False}}
    target = urlsplit(delivery.target)
    assert [unquote(part) for part in target.path.split("/")] == ["", "leads", evil, "x"]
    assert parse_qsl(target.query) == [("to", evil), ("v", "2")]


CHAIN = """
kind: Integration
name: crm
baseUrl: https://crm.example.com
---
kind: DataAction
name: act
integration: crm
state: published
contract: {input: {type: object, properties: {email: {type: string}, score: {type: integer}}}}
request:
  path: /leads/{{ email }}/x
  params: {to: "{{ email }}", v: "2"}
  body: {lead: {email: "{{ email }}", note: "of {{ email }}", admin: false}}
---
kind: Webhook
name: hook
dataAction: act
state: published
mappings: {email: {lookup: visitor.traits.email}, score: {value: 1}}
---
kind: ActionMap
name: m
trigger: {event: page_viewed}
action: {webhook: hook}
"""


# --- paths


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("plain", "/x/plain/y"),
        ("a b", "/x/a%20b/y"),
        ("a/b", "/x/a%2Fb/y"),
        ("../../admin", "/x/..%2F..%2Fadmin/y"),
        ("%2e%2e", "/x/%252e%252e/y"),
        ("%2e%2e%2fadmin", "/x/%252e%252e%252fadmin/y"),
        ("..\\admin", "/x/..%5Cadmin/y"),
        ("a?b=c#d", "/x/a%3Fb%3Dc%23d/y"),
        ("a;b", "/x/a%3Bb/y"),
        ("café", "/x/caf%C3%A9/y"),
        ("😀", "/x/%F0%9F%98%80/y"),
        ("a\r\nX: y", "/x/a%0D%0AX%3A%20y/y"),
        ("http://evil.example", "/x/http%3A%2F%2Fevil.example/y"),
        ("...", "/x/.../y"),
        (10, "/x/10/y"),
        (10.0, "/x/10/y"),
        (True, "/x/true/y"),
        (0, "/x/0/y"),
    ],
)
def test_a_value_in_the_path_stays_within_its_segment(value, made):
    assert path("/x/{{ email }}/y", email=value) == made


@pytest.mark.parametrize("value", [None, "", ".", ".."])
def test_a_path_without_a_value_or_with_a_step_cannot_be_rendered(value):
    with pytest.raises(Unrenderable):
        path("/x/{{ email }}/y", email=value)


@pytest.mark.parametrize(
    "template", ["/{{ email }}{{ score }}", "/.{{ email }}", "/%2e{{ email }}", "/%2E{{ email }}/x"]
)
def test_a_step_made_of_several_pieces_cannot_be_rendered(template):
    with pytest.raises(Unrenderable):
        path(template, email=".", score=".")


def test_a_field_that_is_left_out_of_the_path_cannot_be_rendered():
    with pytest.raises(Unrenderable):
        path("/x/{{ email }}")


@pytest.mark.parametrize(("template", "made"), [("", ""), ("/", "/"), ("leads", "/leads"), ("/v1/leads", "/v1/leads")])
def test_a_path_begins_with_a_slash_or_is_empty(template, made):
    assert path(template) == made


@given(st.text(min_size=1))
def test_whatever_a_visitor_sends_the_path_has_as_many_segments(value):
    if value in (".", ".."):
        return
    made = path("/a/{{ email }}/b", email=value)
    assert made.isascii()
    parts = urlsplit(f"https://crm.example.com{made}")
    assert (parts.hostname, parts.query, parts.fragment) == ("crm.example.com", "", "")
    first, *_ = segments = parts.path.split("/")
    assert (first, len(segments), unquote(segments[2])) == ("", 4, value)


# --- params


def test_params_are_encoded_and_those_without_a_value_left_out():
    params = {"a": "{{ email }}", "b": "{{ score }}", "c": "x-{{ score }}", "d": "2", "e": "{{ first_name }}"}
    assert query(params, email="a&b=c d", score=None) == [("a", "a&b=c d"), ("c", "x-"), ("d", "2")]
    assert query({"a": "{{ email }}"}, email="") == [("a", "")]


@given(st.text(), st.text())
def test_a_value_never_becomes_a_second_parameter(one, two):
    assert query({"a": "{{ email }}", "b": "-{{ first_name }}"}, email=one, first_name=two) == [
        ("a", one),
        ("b", f"-{two}"),
    ]


# --- headers


def headers(templates: dict[str, str], **values: object) -> dict[str, str]:
    return compile_headers(templates, FIELDS)(values)


def test_a_value_stands_in_a_header_and_one_without_a_value_is_left_out():
    templates = {"SOAPAction": '"{{ email }}"', "X-A": "{{ score }}", "X-B": "{{ first_name }}", "X-C": "fixed"}
    assert headers(templates, email="a", score=10) == {"SOAPAction": '"a"', "X-A": "10", "X-C": "fixed"}
    assert headers({"X-A": "Köln {{ email }}"}, email="日本\u2028") == {"X-A": "Köln 日本\u2028"}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "\r", "a\x00b", "\x7f", "\t", "\x1b"])
@pytest.mark.parametrize("template", ["{{ email }}", "x {{ email }}", "{{ email | upper }}"])
def test_a_value_that_could_end_its_header_cannot_be_rendered(template, value):
    with pytest.raises(Unrenderable, match="X-Y"):
        headers({"X-Y": template}, email=value)


@given(st.text(), st.text())
def test_whatever_a_visitor_sends_there_are_as_many_headers(one, two):
    templates = {"X-A": "a {{ email }}", "X-B": "{{ first_name }}"}
    try:
        made = headers(templates, email=one, first_name=two)
    except Unrenderable:
        assert any(ord(letter) < 32 or ord(letter) == 127 for letter in one + two)
    else:
        assert made == {"X-A": f"a {one}", "X-B": two}


# --- what is refused


@pytest.mark.parametrize(
    "template", ["{{ email", "email }}", "{{ email }} }}", "{{ {{ email }}", "{{", "}}", "{{ email }", "{{{ email }}}"]
)
def test_unbalanced_braces_are_refused(template):
    with pytest.raises(BadTemplate):
        compile_text(template, FIELDS)


@pytest.mark.parametrize("inside", ["emial", "visitor.id", "email.x", "7*7", "", " ", "email()", "_", "Email"])
def test_what_is_no_field_of_the_contract_is_refused(inside):
    with pytest.raises(BadTemplate, match="names no field of the input contract"):
        compile_text(f"{{{{ {inside} }}}}", FIELDS)


def test_the_nearest_field_is_named():
    with pytest.raises(BadTemplate, match="did you mean 'email'"):
        compile_text("{{ emial }}", FIELDS)


@pytest.mark.parametrize("template", [{"{{ email }}": 1}, [{"a": {"x{{ email }}": 1}}]])
def test_a_template_in_a_key_is_refused(template):
    with pytest.raises(BadTemplate, match="in the key"):
        compile_body("json", template, FIELDS)
    with pytest.raises(BadTemplate, match="in the key"):
        compile_params({"{{ email }}": "x"}, FIELDS)


def test_a_long_template_is_read_in_no_time():
    with pytest.raises(BadTemplate):
        compile_text("{{" + " " * 50_000, FIELDS)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("{path: '/{{ emial }}'}", "did you mean 'email'"),
        ("{params: {a: '{{ nothing }}'}}", "names no field"),
        ("{body: {a: ['{{ nothing }}']}}", "names no field"),
        ("{path: '/{{ email | lowr }}'}", "there is no filter 'lowr'; did you mean 'lower'?"),
        ("{headers: {X-Y: '{{ emial }}'}}", "request.headers: '{{ emial }}' names no field"),
        ("{headers: {X-Y: '{{ email '}}", "without its other half"),
        ("{headers: {'{{ email }}': x}}", "is no header name"),
        ("{params: {'{{ email }}': x}}", "only values are filled in"),
        ('{headers: {X-Y: "a\\r\\nb: c"}}', "control characters"),
        ('{headers: {"X-Y\\n": a}}', "is no header name"),
        ("{path: /a b}", "no spaces"),
        ("{path: '/a?b=c'}", "use params"),
        ("{path: /a/../b}", "no '.' or '..'"),
        ("{path: /a/%2e%2E}", "no '.' or '..'"),
    ],
)
def test_what_a_request_may_not_be_is_refused_when_it_is_saved(request_, said):
    text = CHAIN[: CHAIN.index("request:")] + f"request: {request_}\n" + CHAIN[CHAIN.index("---\nkind: Webhook") :]
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(definitions(text))
    assert said in str(error.value)


# --- the default body


@pytest.mark.parametrize(
    ("method", "has_body"),
    [
        ("POST", True),
        ("PUT", True),
        ("PATCH", True),
        ("GET", False),
        ("DELETE", False),
        ("HEAD", False),
        ("OPTIONS", False),
    ],
)
def test_the_input_object_is_the_body_of_post_put_and_patch_unless_one_is_given(method, has_body):
    head, tail = CHAIN[: CHAIN.index("request:")], CHAIN[CHAIN.index("---\nkind: Webhook") :]
    for request_, expected in (
        (f"{{method: {method}}}", {"email": "a", "score": 1} if has_body else None),
        (f"{{method: {method}, body: {{x: '{{{{ score }}}}'}}}}", {"x": 1}),
    ):
        rules = compile_rulebook(definitions(f"{head}request: {request_}\n{tail}"))
        [delivery] = live(rules, event(traits={"email": "a"}))[0].deliveries
        assert (None if delivery.body is None else json.loads(delivery.body)) == expected
        assert ("Content-Type" in delivery.headers) is (expected is not None)
