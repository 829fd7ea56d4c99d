"""What is taken out of a receiver's answer: variables and traits by path, and never a crash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.catalog.answer_paths import BadAnswerPath, compile_answer_path
from actionmap.deliver.answer import MAX_VALUE_BYTES, take
from actionmap.delivery import Capture

ANSWER = {"id": "l-1", "users": [{"title": "Dr", "tags": ["a"]}, {"title": "Ms"}], "a b": 3, "none": None}


def taken(path, answer=ANSWER, content_type="application/json", *, is_whole=True):
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return take(Capture({"v": path}, {"t": path}), body, content_type, is_whole=is_whole)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.id", "l-1"),
        ("id", "l-1"),
        ("users.0.title", "Dr"),
        ("$.users[1].title", "Ms"),
        ("$.users[*].title", "Dr"),
        ("$..tags", ["a"]),
        ("$['a b']", 3),
        ("$", ANSWER),
        ("users.0", {"title": "Dr", "tags": ["a"]}),
    ],
)
def test_json_is_read_by_jsonpath_and_by_dot_path(path, value):
    found = taken(path)
    assert (found.variables, found.traits, found.note) == ({"v": value}, {"t": value}, None)


@pytest.mark.parametrize("path", ["nothing", "users.9.title", "id.x", "users.-1", "$.nothing", "$.users[9]", "none"])
def test_where_a_path_leads_to_nothing_the_variable_is_null_and_the_trait_is_left_alone(path):
    found = taken(path)
    assert (found.variables, found.traits, found.note) == ({"v": None}, {}, None)


SOAP = b"""<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
  <m:Lead xmlns:m="urn:crm" m:state="new"><id>l-1</id><tag>a</tag><tag>b</tag></m:Lead>
</s:Body></s:Envelope>"""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Envelope.Body.Lead.id", "l-1"),
        ("$.Envelope.Body.Lead.tag[1]", "b"),
        ("Envelope.Body.Lead.@state", "new"),
        ("$..id", "l-1"),
    ],
)
def test_xml_is_read_by_the_names_of_its_elements(path, value):
    assert taken(path, SOAP, "text/xml; charset=utf-8").variables == {"v": value}


BOMB = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>'


@pytest.mark.parametrize(
    ("answer", "content_type"),
    [
        (b"", "application/json"),
        (b"<html>", "text/html"),
        (b"\xff\xfe{", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b"<a>" * 20_000 + b"</a>" * 20_000, "application/xml"),
        (BOMB, "application/xml"),
        (OUTSIDE, "application/xml"),
        (b"<a>", "application/xml"),
    ],
)
def test_an_answer_that_cannot_be_read_gives_nulls_and_says_so(answer, content_type):
    found = taken("$..a", answer, content_type)
    assert (found.variables, found.traits) == ({"v": None}, {})
    assert found.note is not None
    assert "nothing was taken" in found.note


def test_nothing_is_taken_out_of_an_answer_that_was_cut_off():
    found = taken("id", is_whole=False)
    assert (found.variables, found.traits) == ({"v": None}, {})
    assert found.note == "the answer is too large, so nothing was taken out of it"


def test_a_value_too_large_to_be_kept_with_a_visitor_is_not():
    assert taken("id", {"id": "x" * MAX_VALUE_BYTES}).variables == {"v": None}
    assert taken("id", {"id": "x" * (MAX_VALUE_BYTES - 2)}).variables != {"v": None}


@pytest.mark.parametrize(
    "path",
    ["", "$.", "$[", "a..b", ".a", "a.", "a b", "$.a[?(@.b>1)]", "$.a[?(@.b=~'(a+)+$')]", "$..a..b", "x" * 201],
)
def test_what_is_no_path_is_refused_with_filters_and_regular_expressions(path):
    with pytest.raises(BadAnswerPath):
        compile_answer_path(path)


@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/xml", ""]), st.sampled_from(["$..a", "a.0"]))
def test_no_answer_makes_reading_it_fail(body, content_type, path):
    assert set(taken(path, body, content_type).variables) == {"v"}
