"""What the collector makes of the body of a request."""

import json

import msgspec
import pytest

from actionmap.collect.check import Acceptable, BadBody, TooManyEvents, check_event, split_body
from actionmap.errors import Rejected


def test_one_object_is_one_event_and_is_kept_as_it_was_sent():
    assert split_body(b' {"eventName" : "a"}\n') == [b'{"eventName" : "a"}']


def test_a_list_is_cut_into_the_bytes_that_were_sent():
    assert split_body(b'[ {"a": 1} , {"b":[2, 3]}, 7 ]') == [b'{"a": 1}', b'{"b":[2, 3]}', b"7"]


@pytest.mark.parametrize("body", [b"", b"  ", b'"text"', b"7", b"null", b"[", b"[1,]", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_holds_no_events_is_refused(body: bytes):
    with pytest.raises(BadBody):
        split_body(body)


def test_a_thousand_events_are_taken_and_one_more_is_not():
    assert len(split_body(json.dumps([{}] * 1000).encode())) == 1000
    with pytest.raises(TooManyEvents, match="1,001 events"):
        split_body(json.dumps([{}] * 1001).encode())


def test_a_good_event_becomes_a_record_keyed_by_its_visitor():
    value = b'{"eventName": "page_viewed", "visitorId": "v\xc3\xa9", "eventId": "e1"}'
    checked = check_event(value)
    assert isinstance(checked, Acceptable)
    assert checked.outgoing == ("vé", value)
    assert checked.event_id == "e1"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"eventName": "page_viewed"}, "invalid-field"),
        ({"eventName": "1x", "visitorId": "v"}, "invalid-field"),
        ({"eventName": "a", "visitorId": ""}, "invalid-field"),
        ({"eventName": "a", "visitorId": "v" * 201}, "invalid-field"),
        ({"eventName": "webhook_failed", "visitorId": "v"}, "reserved-event"),
        ({"eventName": "a", "visitorId": "v", "attributes": {"x": "y" * 33_000}}, "too-large"),
        ([1], "not-an-object"),
    ],
)
def test_a_bad_event_is_rejected_with_its_reason(event: object, reason: str):
    checked = check_event(msgspec.json.encode(event))
    assert isinstance(checked, Rejected)
    assert checked.reason == reason
