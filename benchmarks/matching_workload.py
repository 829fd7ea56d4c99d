"""Maps and events for `matching.py`: the same for every engine, made from a seed.

A map is a tree: ``("all" | "any", [trees])``, ``("not", tree)``, or a comparison ``(operator, field, value)``. Fields
are typed and always there, so that no engine's notion of a missing value matters.
"""

from __future__ import annotations

import random
from typing import Any

#: Field → path of ours.
TEXTS = {
    "page": "event.page.pathname",
    "product": "event.attributes.productId",
    "campaign": "session.mktCampaign.name",
    "referrer": "event.attributes.from",
    "search": "event.searchQuery",
    "url": "event.page.url",
    "device": "event.attributes.device",
    "lang": "event.page.lang",
    "country": "event.attributes.country",
}
NUMBERS = {
    "price": "event.attributes.price",
    "cart": "event.attributes.cartValue",
    "position": "event.attributes.position",
    "hour": "event.attributes.hour",
    "score": "visitor.traits.score",
}
PATHS = TEXTS | NUMBERS
SEGMENTS = [f"segment-{number}" for number in range(40)]
DEVICES, LANGUAGES = ["desktop", "mobile", "tablet", "tv"], ["en", "de", "fr", "es", "it", "nl"]
COUNTRIES = [f"c{number:02}" for number in range(30)]
WORDS = [f"{one}{other}" for one in ("shoe", "tent", "wool", "gift", "sale", "bike", "lamp", "rain") for other in
         ("", "-red", "-xl", "-kit", "-pro", "-kids", "-sets", "-care", "-2026", "-eco")]  # fmt: skip

Tree = tuple[Any, ...]


class Site:
    """How much there is of what maps select by: a site with more maps has more pages, products and campaigns."""

    def __init__(self, maps: int) -> None:
        self.pages, self.products = max(200, maps // 5), max(100, maps // 10)
        self.campaigns = self.referrers = max(40, maps // 20)


def maps(mix: str, number: int) -> list[Tree]:
    """``number`` triggers of the mix ``realistic``, ``unselective`` or ``hot page``."""
    dice = random.Random(f"maps {mix}")
    make = {"realistic": _realistic, "unselective": _unselective, "hot page": _hot}[mix]
    site = Site(number)
    return [make(dice, site) for _ in range(number)]


def _page(number: int) -> str:
    return f"/section-{number % 97}/page-{number}"


def _selective(dice: random.Random, site: Site) -> Tree:
    return dice.choice([
        ("equal", "page", _page(dice.randrange(site.pages))),
        ("equal", "product", f"product-{dice.randrange(site.products)}"),
        ("equal", "campaign", f"campaign-{dice.randrange(site.campaigns)}"),
        ("equal", "referrer", f"site-{dice.randrange(site.referrers)}.example"),
    ])  # fmt: skip


def _ordinary(dice: random.Random) -> Tree:
    return dice.choice([
        ("equal", "device", dice.choice(DEVICES)),
        ("in", "lang", tuple(dice.sample(LANGUAGES, 3))),
        ("in", "country", tuple(dice.sample(COUNTRIES, 12))),
        ("notEqual", "lang", dice.choice(LANGUAGES)),
        (dice.choice(["greaterThan", "lessThan"]), dice.choice(list(NUMBERS)), dice.randrange(1000)),
    ])  # fmt: skip


def _some(dice: random.Random, low: int, high: int) -> list[Tree]:
    return [_ordinary(dice) for _ in range(dice.randint(low, high))]


def _realistic(dice: random.Random, site: Site) -> Tree:
    shape = dice.random()
    if shape < 0.52:
        return ("all", [_selective(dice, site), *_some(dice, 1, 3)])
    if shape < 0.70:
        page = _page(dice.randrange(site.pages))
        return ("all", [("startsWith", "page", page[: dice.randint(len(page) - 2, len(page))]), *_some(dice, 0, 2)])
    if shape < 0.80:
        return ("any", [("all", [_selective(dice, site), *_some(dice, 1, 2)]) for _ in range(2)])
    if shape < 0.89:
        return ("all", [("segment", dice.choice(SEGMENTS), None), _selective(dice, site)])
    if shape < 0.94:
        return ("all", [("contains", dice.choice(["url", "search"]), dice.choice(WORDS) + f"{dice.randrange(300)}"),
                        *_some(dice, 0, 1)])  # fmt: skip
    if shape < 0.95:
        return ("endsWith", "page", f"-{dice.randrange(site.pages)}")
    if shape < 0.98:
        return ("all", [("greaterThan", "cart", dice.randrange(985, 999)), ("lessThan", "price", dice.randrange(60)),
                        *_some(dice, 0, 1)])  # fmt: skip
    return ("all", [_selective(dice, site), ("not", ("any", _some(dice, 2, 2)))])


def _unselective(dice: random.Random, _: Site) -> Tree:
    """Eight comparisons, each true at a third to a half of all events: none is worth a look-up by itself."""
    bounds = [_half(dice, field) for field in NUMBERS]
    languages, devices = tuple(dice.sample(LANGUAGES, 2)), tuple(dice.sample(DEVICES, 2))
    countries = tuple(dice.sample(COUNTRIES, 12))
    return ("all", [*bounds, ("in", "lang", languages), ("in", "device", devices), ("in", "country", countries)])


def _half(dice: random.Random, field: str) -> Tree:
    return dice.choice([
        ("greaterThan", field, dice.randrange(500, 700)),
        ("lessThan", field, dice.randrange(300, 500)),
    ])  # fmt: skip


def _hot(dice: random.Random, site: Site) -> Tree:
    if dice.random() < 0.05:
        return ("all", [("equal", "page", "/"), *_some(dice, 2, 4)])
    return _realistic(dice, site)


def events(number: int, maps: int) -> list[dict[str, Any]]:
    """``number`` flat events on the site that has so many ``maps``; ``members`` are the visitor's segments."""
    dice = random.Random("events")
    members = [sorted(dice.sample(SEGMENTS, dice.randint(0, 4))) for _ in range(400)]
    return [_event(dice, members, Site(maps)) for _ in range(number)]


def _zipf(dice: random.Random, size: int) -> int:
    return min(int(dice.paretovariate(0.6)) - 1, size - 1) if dice.random() < 0.7 else dice.randrange(size)


def _event(dice: random.Random, members: list[list[str]], site: Site) -> dict[str, Any]:
    page = "/" if dice.random() < 0.15 else _page(_zipf(dice, site.pages))
    search = f"{dice.choice(WORDS)}{dice.randrange(300)}" if dice.random() < 0.1 else "-"
    return {
        "page": page,
        "url": f"https://shop.example{page}?utm_campaign=campaign-{(campaign := _zipf(dice, site.campaigns))}",
        "campaign": f"campaign-{campaign}",
        "product": f"product-{_zipf(dice, site.products)}",
        "referrer": f"site-{_zipf(dice, site.referrers)}.example",
        "search": search,
        "device": dice.choice(DEVICES),
        "lang": dice.choice(LANGUAGES),
        "country": dice.choice(COUNTRIES),
        **{field: dice.randrange(1000) for field in NUMBERS},
        "members": dice.choice(members),
    }
