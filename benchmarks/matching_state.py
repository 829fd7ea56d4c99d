"""How much is kept of a visitor for ten maps with counts, sequences and absences, whatever the visitor does."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, Timeline
from actionmap.visitor import Visitor, encode_visitor
from matching_ours import definitions

_START = 1_790_000_000_000
_NAMES = ("page_viewed", "product_viewed", "cart_added", "order_completed")


def _at(path: str) -> list[dict[str, Any]]:
    return [{"key": "event.page.pathname", "operator": "startsWith", "value": path}]


_PRICING: dict[str, Any] = {"event": "page_viewed", "where": _at("/pricing")}
_CART: dict[str, Any] = {"event": "cart_added"}
_ORDER: dict[str, Any] = {"event": "order_completed"}
_TEMPORAL: list[dict[str, Any]] = [
    {"count": {**_PRICING, "atLeast": 3, "within": "10m"}},
    {"count": {"event": "product_viewed", "atLeast": 5, "within": "1h"}},
    {"count": {**_CART, "atLeast": 2, "within": "7d"}},
    {"count": {"event": "page_viewed", "atLeast": 20, "within": "session"}},
    {"count": {**_ORDER, "atLeast": 1, "atMost": 3, "within": "lifetime"}},
    {"sequence": {"steps": [_PRICING, _CART], "within": "30m"}},
    {"sequence": {"steps": [{"event": "product_viewed"}, _CART, _ORDER], "within": "1d"}},
    {"sequence": {"steps": [_CART, _PRICING], "within": "session", "without": _ORDER}},
    {"absence": {"after": _CART, "of": _ORDER, "for": "30m"}},
    {"absence": {"after": _PRICING, "of": {"event": "product_viewed"}, "for": "1h"}},
]


def figures() -> dict[str, tuple[int, int]]:
    """Name of a load → bytes of the stored visitor with the ten maps, and without any map."""
    loads = {
        "40 events in a day": (40, 2_000_000),
        "20,000 events, one every 50 ms": (20_000, 50),
        "20,000 events, one a minute": (20_000, 60_000),
    }
    return {name: (_stored(*load, _TEMPORAL), _stored(*load, [])) for name, load in loads.items()}


def _stored(events: int, apart_ms: int, triggers: list[dict[str, Any]]) -> int:
    timeline = Timeline(compile_rulebook(definitions(triggers)), Policy(), -1, {})
    dice = random.Random("state")
    largest = 0
    for number in range(events):
        at = _START + number * apart_ms
        wire = {
            "eventName": dice.choices(_NAMES, (70, 20, 8, 2))[0],
            "visitorId": "v",
            "page": {"url": f"https://shop.example/{dice.choice(('pricing', 'products/tent', 'blog'))}"},
        }
        record = Record("events", 0, number, at, None, msgspec.json.encode(wire))
        timeline.run_timers(at - 1, at)
        visitor: Visitor = timeline.take(parse_record(record).event).visitor
        if number % 50 == 49 or number == events - 1:
            largest = max(largest, len(encode_visitor(visitor)))
    return largest
