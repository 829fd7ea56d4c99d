"""Bodies of every content type: a value stays where its template put it, or nothing is sent."""

import email
import json
from email.message import Message
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shop import definitions, event, live

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.templates import BadTemplate, Body, compile_body
from actionmap.delivery import Delivery
from actionmap.errors import DefinitionError, Unrenderable

FIELDS = ("a", "b", "c")
EVIL = [
    "a\r\nX-Evil: 1",
    "\r",
    "\n",
    "line\r\n",
    "\x00",
    "\u2028",
    "\x85",
    "\x0b\x0c\x1c",
    "{{7*7}}",
    '"',
    "'",
    "]]>",
    "<![CDATA[x]]>",
    "<!--",
    "--",
    "</a><b/>",
    "&amp;&#0;",
    "&x;",
    "a=1&b=2",
    "+ %41 %",
    "--actionmap-am1_x",
    "\r\n--actionmap-am1_x--\r\n",
    '\r\n--actionmap-am1_x\r\nContent-Disposition: form-data; name="b"\r\n\r\nx',
    "\ufffe",
    "😀",
    " ",
    "\t",
]


def body(kind: str, template: object, id_: str = "am1_x", **values: object) -> Body:
    return compile_body(kind, template, FIELDS)(values, id_)


def refused(kind: str, template: object, **more: bool) -> str:
    with pytest.raises(BadTemplate) as error:
        compile_body(kind, template, FIELDS, **more)
    return str(error.value)


def with_evil(test):
    """``test`` with each value that has broken some sender, and with any others."""
    for value in EVIL:
        test = example(value)(test)
    return given(st.text())(test)


def parts(made: Body) -> list[tuple[str, bytes]]:
    """Names and values of a multipart body, as the standard library reads them."""
    message = email.message_from_bytes(f"Content-Type: {made.content_type}\r\n\r\n".encode() + made.data)
    assert message.is_multipart()
    assert not message.defects
    return [(part.get_param("name", header="content-disposition"), _value(part)) for part in message.get_payload()]


def _value(part: Message) -> bytes:
    assert part.keys() == ["Content-Disposition"]
    return part.get_payload(decode=True)


# --- json


@with_evil
def test_a_value_adds_nothing_to_json(value):
    template = {"x": "{{ a }}", "y": ["{{ a }}", {"z": "of {{ a }}"}], "n": "{{ b }}", "f": "{{ a | trim }}"}
    made = body("json", template, a=value, b=10)
    assert made.content_type == "application/json"
    assert json.loads(made.data) == {"x": value, "y": [value, {"z": f"of {value}"}], "n": 10, "f": value.strip()}


# --- forms

FORM = {"a": "{{ a }}", "n": "{{ b }}", "list": ["{{ a }}", "x-{{ a }}", 2], "fixed": True, "none": None}


@with_evil
def test_a_value_adds_no_pair_to_a_form(value):
    made = body("formEncoded", FORM, a=value, b=1.0)
    assert made.content_type == "application/x-www-form-urlencoded"
    assert parse_qsl(made.data.decode("ascii"), keep_blank_values=True, strict_parsing=True) == [
        ("a", value),
        ("n", "1"),
        ("list", value),
        ("list", f"x-{value}"),
        ("list", "2"),
        ("fixed", "true"),
    ]


@with_evil
def test_a_value_adds_no_part_to_form_data(value):
    assert parts(body("formData", FORM, a=value, b=1.0)) == [
        ("a", value.encode()),
        ("n", b"1"),
        ("list", value.encode()),
        ("list", f"x-{value}".encode()),
        ("list", b"2"),
        ("fixed", b"true"),
    ]


def test_the_same_delivery_has_the_same_bytes_and_another_one_another_boundary():
    first, again, other = (body("formData", {"a": "{{ a }}"}, id_, a="x") for id_ in ("am1_x", "am1_x", "am1_y"))
    assert first == again
    assert first.content_type != other.content_type


def test_a_boundary_that_a_visitor_foresees_is_passed_over():
    boundaries, text = [], ""
    for _ in range(5):
        made = body("formData", {"a": "{{ a }}", "b": "x"}, a=text)
        assert parts(made) == [("a", text.encode()), ("b", b"x")]
        boundary = made.content_type.partition("boundary=")[2]
        boundaries.append(boundary)
        text += f"\r\n--{boundary}--\r\n"
    assert len(set(boundaries)) == 5


@pytest.mark.parametrize("kind", ["formEncoded", "formData"])
def test_without_a_body_a_form_holds_the_fields_that_have_a_value(kind):
    made = body(kind, None, a="x", b=None, c=0)
    found = parts(made) if kind == "formData" else parse_qsl(made.data)
    assert [(name, value) for name, value in found] in ([("a", b"x"), ("c", b"0")], [(b"a", b"x"), (b"c", b"0")])


@pytest.mark.parametrize("kind", ["formEncoded", "formData"])
def test_what_is_null_or_left_out_is_no_pair_and_what_is_empty_is(kind):
    made = body(kind, {"a": "{{ a }}", "b": ["{{ b }}", "{{ c }}"]}, a=None, c="")
    assert (parts(made) if kind == "formData" else parse_qsl(made.data, keep_blank_values=True))[0][1] == b""
    assert len(made.data.split(b"form-data; ")) == 2 or made.data == b"b="
    assert body("formEncoded", {"a": "{{ a }}"}, a=None).data == b""


@pytest.mark.parametrize("kind", ["formEncoded", "formData"])
@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a={{ a }}", "a mapping of names to values"),
        (["{{ a }}"], "a mapping of names to values"),
        ({"x": {"y": "{{ a }}"}}, "'x' is nested"),
        ({"x": [["{{ a }}"]]}, "'x' is nested"),
        ({"{{ a }}": "x"}, "in the key"),
        ({"x": "{{ d }}"}, "names no field"),
    ],
)
def test_what_is_no_form_is_refused(kind, template, said):
    assert said in refused(kind, template)


@pytest.mark.parametrize("name", ['a"; filename="x', "a\r\nX: y", "\x00"])
def test_a_name_that_form_data_cannot_write_is_refused(name):
    assert "no quotes and no control characters" in refused("formData", {name: "x"})


def test_form_data_sets_its_own_content_type():
    assert "take yours out" in refused("formData", {"a": "x"}, own_type=True)


# --- xml

SOAP = """<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">
  <soap:Body>
    <AddLead xmlns="http://crm.example.com/" kind="{{ b }}" note='of "{{ a }}"'>
      <!-- who -->
      <Email>{{ a }}</Email><Name>x {{ a }} y {{ b }}</Name><Hash>{{ a | sha256 }}</Hash><![CDATA[fixed <>]]>
    </AddLead>
  </soap:Body>
</soap:Envelope>
"""
LEAD = "{http://crm.example.com/}"


def holds(value: str) -> bool:
    """Whether XML 1.0 can hold ``value``."""
    return not any(
        (ord(letter) < 32 and letter not in "\t\n\r") or 0xD800 <= ord(letter) <= 0xDFFF or letter in "\ufffe\uffff"
        for letter in value
    )


@with_evil
def test_a_value_adds_nothing_to_xml(value):
    if not holds(value):
        with pytest.raises(Unrenderable, match="'a' holds a character that XML cannot"):
            body("xml", SOAP, a=value, b=1)
        return
    tree = ElementTree.fromstring(body("xml", SOAP, a=value, b=1).data)
    [lead] = [one for one in tree.iter() if one.tag == f"{LEAD}AddLead"]
    assert lead.attrib == {"kind": "1", "note": f'of "{value}"'}
    assert [one.tag.removeprefix(LEAD) for one in lead] == ["Email", "Name", "Hash"]
    assert [len(one) for one in lead] == [0, 0, 0]
    assert (lead[0].text or "", lead[1].text) == (value, f"x {value} y 1")
    assert "fixed <>" in lead[2].tail


def test_what_has_no_value_is_empty_in_xml():
    assert body("xml", "<a b='{{ a }}'>{{ b }}</a>", a=None).data == b"<a b=''></a>"


@pytest.mark.parametrize(
    ("root", "content_type"),
    [
        ('<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>', "text/xml; charset=utf-8"),
        ('<Envelope xmlns="http://www.w3.org/2003/05/soap-envelope"/>', "application/soap+xml; charset=utf-8"),
        ("<lead/>", "application/xml; charset=utf-8"),
        ('<lead><x xmlns="http://www.w3.org/2003/05/soap-envelope"/></lead>', "application/xml; charset=utf-8"),
    ],
)
def test_soap_has_the_content_type_that_its_version_asks_for(root, content_type):
    assert body("xml", root).content_type == content_type
    assert compile_body("xml", root, FIELDS, own_type=True)({}, "").content_type is None


@pytest.mark.parametrize(
    "template",
    [
        "<{{ a }}/>",
        "<x{{ a }}/>",
        "<x></{{ a }}>",
        "<x {{ a }}='1'/>",
        "<x {{ a }}/>",
        "<x a={{ a }}/>",
        "<x><!-- {{ a }} --></x>",
        "<x><![CDATA[{{ a }}]]></x>",
        "<x><?pi {{ a }}?></x>",
        "<?{{ a }} x?><x/>",
        "<?xml version='{{ a }}'?><x/>",
        "<?xml version='1.0' encoding='{{ a }}'?><x/>",
        "<x xmlns='{{ a }}'/>",
        "<x xmlns:y='{{ a }}'><y:z/></x>",
        "<x>&{{ a }};</x>",
        "<x>&#{{ a }};</x>",
        "{{ a }}",
        "{{ a }}<x/>",
        "<x/>{{ a }}",
        "<!DOCTYPE {{ a }}><x/>",
        "<x>{{ a }}</x><!-- {{ a }} -->",
    ],
)
def test_a_place_where_xml_takes_no_value_is_refused(template):
    refused("xml", template)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "a body that is a text"),
        ({"x": 1}, "a body that is a text"),
        ("", "no well-formed XML"),
        ("text", "no well-formed XML"),
        ("<x>\n<y></x>", "mismatched tag, in its line 2"),
        ("<x/><y/>", "no well-formed XML"),
        ("<a:x/>", "unbound prefix"),
        ("<x>&nbsp;</x>", "no well-formed XML"),
        ("<x>\x00</x>", "no well-formed XML"),
        ("<x>\ud800</x>", "no UTF-8"),
        ("\n<?xml version='1.0'?><x/>", "no well-formed XML"),
        ("<?xml version='1.0' encoding='iso-8859-1'?><x/>", "in UTF-8"),
        ("<?xml version='1.1'?><x/>", "as XML 1.0"),
        ("<!DOCTYPE x><x/>", "DOCTYPE is refused"),
        ('<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>', "DOCTYPE is refused"),
        ("<x>{{ d }}</x>", "names no field"),
    ],
)
def test_what_is_no_xml_document_is_refused(template, said):
    assert said in refused("xml", template)


def test_the_markers_that_find_the_places_are_not_mistaken_for_the_authors_text():
    assert body("xml", "<x><!-- place0x -->place0x {{ a }} place1x</x>", a="1").data.endswith(b"place0x 1 place1x</x>")


# --- a whole request

CHAIN = """
kind: Integration
name: crm
baseUrl: https://crm.example.com
limits: {maxBodyBytes: 10000000}
---
kind: DataAction
name: act
integration: crm
state: published
contract: {input: {type: object, properties: {email: {type: string}}}}
request: %s
---
kind: Webhook
name: hook
dataAction: act
state: published
mappings: {email: {lookup: visitor.traits.email}}
---
kind: ActionMap
name: m
trigger: {event: page_viewed}
action: {webhook: hook}
"""
XML_BODY = '<lead note=\\"{{ email }}\\">{{ email }}</lead>'
REQUESTS = {
    "path": "{path: '/a/{{ email }}/b', body: {}}",
    "query": "{params: {x: '{{ email }}', y: 'z'}, body: {}}",
    "header": "{headers: {X-Who: 'v {{ email }}', X-Y: 'z'}, body: {}}",
    "json": "{body: {x: '{{ email }}', y: z}}",
    "formEncoded": "{contentType: formEncoded, body: {x: '{{ email }}', y: z}}",
    "formData": "{contentType: formData, body: {x: '{{ email }}', y: z}}",
    "xml": f'{{contentType: xml, body: "{XML_BODY}"}}',
    "digest": "{body: {x: '{{ email | sha256 }}'}}",
}


def read_back(where: str, owed: Delivery) -> list[object]:
    """What a receiver finds of the visitor's value, and what stands beside it."""
    target = urlsplit(owed.target)
    match where:
        case "path":
            return [unquote(segment) for segment in target.path.split("/")]
        case "query":
            return parse_qsl(target.query, keep_blank_values=True)
        case "header":
            return sorted(owed.headers.items())
        case "json" | "digest":
            return list(json.loads(owed.body).items())
        case "formEncoded":
            return parse_qsl(owed.body, keep_blank_values=True)
        case "formData":
            made = Body(owed.body.encode(), owed.headers["Content-Type"])
            return [(name, value.decode()) for name, value in parts(made)]
        case _:
            lead = ElementTree.fromstring(owed.body)
            return [lead.tag, lead.attrib, lead.text, len(lead)]


def expected(where: str, value: str) -> list[object]:
    match where:
        case "path":
            return ["", "a", value, "b"]
        case "header":
            return [("Content-Type", "application/json"), ("X-Who", f"v {value}"), ("X-Y", "z")]
        case "xml":
            return ["lead", {"note": value}, value, 0]
        case _:
            return [("x", value), ("y", "z")]


def can_hold(where: str, value: str) -> bool:
    if where == "header":
        return not any(ord(letter) < 32 or ord(letter) == 127 for letter in value)
    return holds(value) if where == "xml" else True


@pytest.mark.parametrize("where", [where for where in REQUESTS if where != "digest"])
def test_p15_a_hostile_trait_is_a_value_wherever_it_stands_or_nothing_is_sent(where):
    rules = compile_rulebook(definitions(CHAIN % REQUESTS[where]))
    for value in [*EVIL, "x" * 1_000_000, '"<&\r\n' * 10]:
        seen = msgspec.structs.replace(event(), traits={"email": value})
        [decision] = live(rules, seen)
        if can_hold(where, value):
            [owed] = decision.deliveries
            assert read_back(where, owed) == expected(where, value)
            assert owed.target.isascii()
        else:
            [dead] = decision.dead_letters
            assert (dead.reason, decision.deliveries) == ("unrenderable", ())


@pytest.mark.parametrize("where", REQUESTS)
def test_p15_half_a_surrogate_pair_is_never_sent(where):
    rules = compile_rulebook(definitions(CHAIN % REQUESTS[where]))
    [decision] = live(rules, msgspec.structs.replace(event(), traits={"email": "a\ud800b"}))
    assert [letter.reason for letter in decision.dead_letters] == ["unrenderable"]
    assert decision.deliveries == ()


@pytest.mark.parametrize("kind", ["json", "formEncoded", "xml"])
def test_the_authors_own_content_type_wins(kind):
    body_ = "<x/>" if kind == "xml" else "{x: '{{ email }}'}"
    request = f"{{contentType: {kind}, headers: {{content-type: application/vnd.crm}}, body: {body_}}}"
    [decision] = live(compile_rulebook(definitions(CHAIN % request)), event())
    assert decision.deliveries[0].headers == {"content-type": "application/vnd.crm"}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("{contentType: xml}", "DataAction act: request.body: contentType: xml takes a body that is a text"),
        ("{contentType: xml, body: '<x>{{ emial }}</x>'}", "did you mean 'email'"),
        ("{contentType: formData, headers: {Content-Type: x}}", "request.body: contentType: formData sets the header"),
        ("{contentType: formEncoded, body: {x: {y: z}}}", "'x' is nested"),
        ("{contentType: yaml}", "'yaml' is not one of json, xml, formEncoded, formData"),
    ],
)
def test_a_body_that_its_content_type_cannot_hold_is_refused_when_it_is_saved(request_, said):
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(definitions(CHAIN % request_))
    assert said in str(error.value)


def test_a_method_without_a_body_needs_none_of_xml():
    [decision] = live(compile_rulebook(definitions(CHAIN % "{method: GET, contentType: xml}")), event())
    assert (decision.deliveries[0].body, decision.deliveries[0].headers) == (None, {})
