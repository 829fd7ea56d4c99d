"""The bundled day of a shop's website."""

import gzip
import re
from collections import Counter, defaultdict
from importlib.resources import files

import msgspec
import pytest

from actionmap.demo.sample import generate, packed
from actionmap.wire import parse_event


@pytest.fixture(scope="module")
def events() -> list[dict]:
    return list(generate())


def test_generating_again_gives_the_bundled_events(events: list[dict]):
    bundled = gzip.decompress((files("actionmap") / "demo" / "events.jsonl.gz").read_bytes())
    assert [msgspec.json.decode(line) for line in bundled.splitlines()] == events


def test_the_file_is_the_same_every_time_it_is_written():
    assert packed() == packed()


def test_another_seed_is_another_day(events: list[dict]):
    assert list(generate(seed=8, visitors=5)) != list(generate(visitors=5))


def test_every_event_passes_the_collectors_check(events: list[dict]):
    assert 2_500 < len(events) < 3_500
    for event in events:
        parse_event(msgspec.json.encode(event))


def test_all_events_lie_on_one_day_in_order(events: list[dict]):
    times = [event["timestamp"] for event in events]
    assert {time[:10] for time in times} == {"2026-11-02"}
    # A repeated event arrives later, with the time of the first.
    firsts = list({event["eventId"]: event["timestamp"] for event in events}.values())
    assert firsts == sorted(firsts)


def test_some_events_come_twice_and_are_the_same(events: list[dict]):
    by_id = defaultdict(list)
    for event in events:
        by_id[event["eventId"]].append(event)
    repeated = [same for same in by_id.values() if len(same) > 1]
    assert repeated
    assert all(first == second for first, second in repeated)


def test_everything_a_map_can_ask_for_happens(events: list[dict]):
    names = Counter(event["eventName"] for event in events)
    assert names.keys() == {
        "page_viewed", "product_viewed", "cart_added", "cart_removed", "form_started", "form_submitted",
        "search_performed", "order_completed", "interaction_started", "interaction_finished",
    }  # fmt: skip
    visitors = {event["visitorId"] for event in events}
    known = {event["visitorId"] for event in events if event.get("traits", {}).get("email")}
    assert len(visitors) / 10 < len(known) < len(visitors) / 2


def test_nobody_in_it_is_real(events: list[dict]):
    for event in events:
        assert event["ipAddress"].startswith(("203.0.113.", "198.51.100."))
        email = event.get("traits", {}).get("email", "a@example.com")
        assert re.fullmatch(r"[a-z0-9]+@example\.(com|org|net)", email)
