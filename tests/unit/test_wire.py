"""Bytes → event, or the fixed word that says why they are none."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from shop import TEN

from actionmap.consume.parse import MAX_AHEAD_MS, Record, dead_letter, parse_record
from actionmap.errors import Rejected
from actionmap.event import (
    MAX_EVENT_BYTES,
    MAX_EVENT_DEPTH,
    OUTCOME_EVENTS,
    RESERVED_EVENTS,
    to_millis,
    to_rfc3339,
)
from actionmap.wire import parse_and_count, parse_event

SMALLEST = {"eventName": "page_viewed", "visitorId": "v1"}


def written(**fields: object) -> bytes:
    return json.dumps({**SMALLEST, **fields}).encode()


def rejected(value: bytes) -> tuple[str, str]:
    with pytest.raises(Rejected) as error:
        parse_event(value)
    return error.value.reason, error.value.detail


def test_a_whole_event_is_read():
    event = parse_event(
        b"""{"eventId": "e", "eventName": "page_viewed", "visitorId": "c-7f3a", "customerId": "cust-42",
        "timestamp": "2026-11-21T19:15:00.123Z",
        "page": {"url": "https://shop.example/pricing", "title": "Pricing", "lang": "en", "keywords": ["a"]},
        "referrerUrl": "https://search.example/?q=plans", "userAgent": "Mozilla/5.0", "ipAddress": "203.0.113.9",
        "searchQuery": "plans", "language": "en", "attributes": {"cartValue": 129.9, "skus": ["a", "b"]},
        "traits": {"email": "a@b.example"}}"""
    )
    assert (event.event_id, event.event_name, event.visitor_id, event.customer_id) == (
        "e",
        "page_viewed",
        "c-7f3a",
        "cust-42",
    )
    assert to_rfc3339(to_millis(event.timestamp)) == "2026-11-21T19:15:00.123Z"
    assert (event.page.title, event.page.keywords, event.search_query) == ("Pricing", ["a"], "plans")
    assert (event.attributes, event.traits) == ({"cartValue": 129.9, "skus": ["a", "b"]}, {"email": "a@b.example"})


def test_name_and_visitor_are_enough():
    assert parse_event(written()).event_id is None


def test_null_is_the_same_as_absent():
    optional = ["eventId", "customerId", "timestamp", "page", "referrerUrl", "userAgent", "attributes", "traits"]
    assert parse_event(written(**dict.fromkeys(optional))) == parse_event(written())


# --- limits


def sized(size: int) -> bytes:
    return written(searchQuery="x" * (size - len(written(searchQuery=""))))


def test_32_kb_are_taken_and_one_byte_more_is_not():
    assert MAX_EVENT_BYTES == 32 * 1024
    parse_event(sized(MAX_EVENT_BYTES))
    assert rejected(sized(MAX_EVENT_BYTES + 1))[0] == "too-large"


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    inside = opening * levels + ("" if opening == "[" else "1") + closing * levels
    return written()[:-1] + f', "attributes": {{"a": {inside}}}}}'.encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_16_levels_are_taken_and_17_are_not(opening, closing):
    assert MAX_EVENT_DEPTH == 16
    parse_event(nested(14, opening, closing))
    assert rejected(nested(15, opening, closing))[0] == "too-deep"


def test_brackets_in_texts_and_side_by_side_are_no_depth():
    parse_event(written(searchQuery="[" * 5000))
    parse_event(written(attributes={'{"[\\"[[': '\\"[[[[[[[[[[[[[[[[[[[[[' * 10}))
    parse_event(written(attributes={"a": [[]] * 500}))


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 30_000,
        b'{"a":' * 6000,
        b"[" * 17 + b'"' + b'\\"' * 16_000,
        b"[" * 17 + b'"' * 32_000,
        b"[" * 17 + b"\\" * 32_000,
        b"[" * 17 + b'"\\' * 16_000,
    ],
)
def test_no_bytes_take_long(value):
    start = time.perf_counter()
    rejected(value)
    assert time.perf_counter() - start < 0.5


# --- each reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed-json"),
        (b"{", "malformed-json"),
        (b"not json", "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v"} x', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v",}', "malformed-json"),
        (b"{'eventName': 'a', 'visitorId': 'v'}", "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": NaN}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": Infinity}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": -Infinity}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": 01}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": "\\ud800"}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"\\udc00": 1}}', "malformed-json"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": "\\udc00x"}}', "not-utf-8"),
        (b'{"eventName": "a", "visitorId": "v", "searchQuery": "\xff"}', "not-utf-8"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"\xff": 1}}', "not-utf-8"),
        (b'{"eventName": "a", "visitorId": "v", "\xff": 1}', "not-utf-8"),
        (b'{"eventName": "a", "visitorId": "v", "other": "\xff"}', "not-utf-8"),
        (b'{"eventName": "a", "visitorId": "v", "\\ud800": 1}', "malformed-json"),
        (b'\xef\xbb\xbf{"eventName": "a", "visitorId": "v"}', "malformed-json"),
        (b"[]", "not-an-object"),
        (b'[{"eventName": "a", "visitorId": "v"}]', "not-an-object"),
        (b'"text"', "not-an-object"),
        (b"5", "not-an-object"),
        (b"null", "not-an-object"),
        (b"{}", "invalid-field"),
        (b'{"eventName": "a"}', "invalid-field"),
        (b'{"visitorId": "v"}', "invalid-field"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": 1e999}}', "invalid-field"),
        (b'{"eventName": "a", "visitorId": "v", "attributes": {"a": ' + b"9" * 5000 + b"}}", "invalid-field"),
    ],
)
def test_what_is_no_event_is_rejected_with_a_fixed_word(value, reason):
    found, detail = rejected(value)
    assert found in ("malformed-json", "not-utf-8") if b"\\ud" in value else found == reason
    assert detail


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eventName", ""),
        ("eventName", "1a"),
        ("eventName", "a b"),
        ("eventName", "a-b"),
        ("eventName", "a\n"),
        ("eventName", "é"),
        ("eventName", "a" * 101),
        ("eventName", 5),
        ("eventName", None),
        ("visitorId", ""),
        ("visitorId", "v" * 201),
        ("visitorId", 5),
        ("visitorId", None),
        ("eventId", ""),
        ("eventId", "e" * 201),
        ("eventId", 5),
        ("customerId", ""),
        ("customerId", 5),
        ("timestamp", "now"),
        ("timestamp", "2026-11-21"),
        ("timestamp", "2026-11-21T10:00:00"),
        ("timestamp", 1_700_000_000),
        ("timestamp", "2026-13-01T00:00:00Z"),
        ("timestamp", "0001-01-01T00:00:00+14:00"),
        ("timestamp", "9999-12-31T23:59:59-14:00"),
        ("page", "https://shop.example"),
        ("page", []),
        ("referrerUrl", 5),
        ("attributes", []),
        ("attributes", "x"),
        ("traits", [1]),
    ],
)
def test_a_field_that_is_wrong_is_named(field, value):
    reason, detail = rejected(written(**{field: value}))
    assert reason == "invalid-field"
    assert detail.startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["a", "A", "page_viewed", "a.b.c", "a1", "a" * 100])
def test_names_of_events_are_free(name):
    assert parse_event(written(eventName=name)).event_name == name


@pytest.mark.parametrize("visitor", ["v", "v" * 200, "é" * 200, "😀", "a b", " ", "../x", "{{7*7}}", "\x00"])
def test_ids_of_visitors_are_free(visitor):
    assert parse_event(written(visitorId=visitor)).visitor_id == visitor


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names_come_from_actionmap_alone(name):
    assert rejected(written(eventName=name))[0] == "reserved-event"


@pytest.mark.parametrize("name", sorted(OUTCOME_EVENTS))
def test_outcomes_come_through_no_record_whoever_wrote_it(name):
    with pytest.raises(Rejected, match="only actionmap itself"):
        parse_record(Record("events", 0, 0, 0, None, written(eventName=name), own=True))


def test_unknown_top_level_keys_are_counted_and_kept_out():
    plain, none = parse_and_count(written())
    event, unknown = parse_and_count(written(x=1, y={"eventName": "b"}, visitor_id="w"))
    assert (none, unknown) == (0, 3)
    assert asdict(event) == asdict(plain)


@pytest.mark.parametrize("number", [2**63, 2**64, 10**30, -(10**30), 0.1, 1e308, 5e-324])
def test_numbers_come_through_as_they_are(number):
    assert parse_event(written(attributes={"a": number})).attributes == {"a": number}


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_bring_the_door_down(value):
    for one in (
        value,
        b"{" + value + b"}",
        written()[:-1] + b"," + value + b"}",
        written()[:-1] + b',"' + value + b'":1}',
    ):
        try:
            parse_and_count(one)
        except Rejected as why:
            assert why.reason in (
                "too-large",
                "not-utf-8",
                "too-deep",
                "malformed-json",
                "not-an-object",
                "invalid-field",
                "reserved-event",
            )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_attributes_come_through_as_they_were_sent(attributes):
    assert parse_event(written(attributes=attributes)).attributes == attributes


# --- records


def record(value: bytes | None, at: int = TEN, key: bytes | None = b"v1") -> Record:
    return Record("events", 3, 42, at, key, value)


def test_without_an_id_an_event_is_called_by_its_place():
    assert parse_record(record(written())).event.id == "events/3/42"
    assert parse_record(record(written(eventId="e"))).event.id == "e"


def test_without_a_timestamp_the_records_time_counts():
    event = parse_record(record(written())).event
    assert (event.time, event.recorded_at) == (TEN, TEN)


@pytest.mark.parametrize(
    ("ahead_ms", "time", "clamped"),
    [
        (-86_400_000, TEN - 86_400_000, False),
        (0, TEN, False),
        (MAX_AHEAD_MS, TEN + MAX_AHEAD_MS, False),
        (MAX_AHEAD_MS + 1, TEN, True),
        (10**12, TEN, True),
    ],
)
def test_a_time_more_than_five_minutes_ahead_is_clamped_to_the_records(ahead_ms, time, clamped):
    parsed = parse_record(record(written(timestamp=to_rfc3339(TEN + ahead_ms))))
    assert (parsed.event.time, parsed.clamped, parsed.event.recorded_at) == (time, clamped, TEN)
    assert MAX_AHEAD_MS == 5 * 60 * 1000


def test_a_record_without_a_value_is_rejected():
    with pytest.raises(Rejected, match="empty"):
        parse_record(record(None))


def test_a_dead_letter_keeps_the_record_for_people():
    letter = dead_letter(record(b"\xff" + b"x" * 10_000, key=None), "not-utf-8", "byte 0")
    assert (letter.id, letter.kind, letter.reason, letter.at, letter.key) == (
        "events/3/42",
        "record",
        "not-utf-8",
        TEN,
        None,
    )
    assert len(letter.value) == 4096
    assert letter.value.startswith("\ufffdx")


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_written_and_read_back_the_same(millis):
    text = to_rfc3339(millis)
    assert len(text) == len("2026-11-21T19:15:00.123Z")
    assert to_millis(parse_event(written(timestamp=text)).timestamp) == millis
