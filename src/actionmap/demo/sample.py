"""One day of a shop's website, made up: a seed → events in time order, for `actionmap demo` and the tests.

``python -m actionmap.demo.sample > src/actionmap/demo/events.jsonl.gz`` writes the bundled file. Nobody in it is
real: the mail addresses are of example domains, the IP addresses of the ranges kept for documentation.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from actionmap.event import to_millis, to_rfc3339

SITE = "https://shop.example"
#: Midnight of the day, a Monday.
DAY = to_millis(datetime(2026, 11, 2, tzinfo=UTC))
MINUTE = 60_000
HOUR = 60 * MINUTE

#: Path → price.
PRODUCTS = {
    "trail-shoes": 129.9,
    "rain-jacket": 189.0,
    "wool-socks": 14.5,
    "tent-two": 349.0,
    "head-torch": 39.9,
    "backpack-30": 99.0,
    "water-bottle": 19.9,
    "sleeping-bag": 219.0,
}
POSTS = ("how-to-lace-boots", "ten-autumn-walks", "caring-for-wool", "packing-light", "winter-camping")
SEARCHES = ("waterproof jacket", "tent", "gift card", "return label", "size guide", "refund", "wool socks")
NAMES = ("Ada", "Ben", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Hiro", "Ines", "Jonas", "Kiran", "Lea", "Maja")
TOPICS = ("billing", "delivery", "refund", "sizes", "warranty")

_USER_AGENTS = (
    # Twice as many desktop and mobile ones as tablets.
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 "
    "Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Android 15; Mobile; rv:144.0) Gecko/144.0 Firefox/144.0",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
    "Mobile Safari/537.36",
    "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
)
#: How a session begins: query of the first page, and where the visitor came from.
_ARRIVALS: tuple[tuple[str, str | None], ...] = (
    ("utm_source=google&utm_medium=cpc&utm_campaign=autumn-outdoor&utm_term=trail%20shoes&gclid=demo", "https://www.google.com/"),
    ("utm_source=google&utm_medium=cpc&utm_campaign=brand", "https://www.google.com/"),
    ("utm_source=newsletter&utm_medium=email&utm_campaign=november-news&utm_content=hero", None),
    ("utm_source=instagram&utm_medium=social&utm_campaign=ten-walks", "https://www.instagram.com/"),
    ("", "https://www.google.com/"),
    ("", "https://duckduckgo.com/"),
    ("", "https://blog.hiking.example/best-tents"),
    ("", None),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    """Who walks through the shop, the same in every session."""

    visitor_id: str
    user_agent: str
    ip_address: str
    language: str
    given_name: str
    email: str


class _Walk:
    """One visitor's events, one after the other."""

    def __init__(self, person: _Person, rng: Random, start: int) -> None:
        self.rng = rng
        #: What lies in the cart, and its price.
        self.cart: dict[str, float] = {}
        self.events: list[tuple[int, dict[str, Any]]] = []
        self._person = person
        self._now = start
        self._url = ""
        self._referrer: str | None = None

    def arrive(self, path: str) -> None:
        """Begin a session on the page ``path``."""
        query, referrer = self.rng.choice(_ARRIVALS)
        self._open(f"{path}?{query}" if query else path, referrer)

    def leave(self) -> None:
        """Stay away for longer than a session lasts."""
        self._now += self.rng.randint(25 * MINUTE, 4 * HOUR)

    def view(self, path: str) -> None:
        """Look at the page ``path``."""
        self._open(path, self._url)

    def _open(self, path: str, referrer: str | None) -> None:
        self._url, self._referrer = SITE + path, referrer
        self.happen("page_viewed")

    def view_product(self, slug: str) -> None:
        """Look at a product's page."""
        self.view(f"/products/{slug}")
        self.happen("product_viewed", {"sku": slug, "price": PRODUCTS[slug]})

    def add(self, slug: str) -> None:
        """Put a product into the cart."""
        self.cart[slug] = PRODUCTS[slug]
        self.happen("cart_added", self._cart_attributes() | {"sku": slug})

    def remove(self) -> None:
        """Take the first product out of the cart again."""
        slug = next(iter(self.cart))
        del self.cart[slug]
        self.happen("cart_removed", self._cart_attributes() | {"sku": slug})

    def order(self) -> None:
        """Buy what is in the cart."""
        self.view("/checkout")
        number = f"{self.rng.randint(10_000, 99_999)}"
        attributes = self._cart_attributes() | {"orderId": f"O-{number}"}
        self.happen("order_completed", attributes, traits=self.known(), customerId=f"cust-{number}")
        self.cart.clear()

    def known(self) -> dict[str, Any]:
        """What the visitor says of themselves."""
        return {"email": self._person.email, "givenName": self._person.given_name}

    def happen(self, name: str, attributes: dict[str, Any] | None = None, **more: Any) -> None:
        """Record the event ``name`` on the present page, some seconds after the one before."""
        person = self._person
        event: dict[str, Any] = {
            "eventId": str(UUID(int=self.rng.getrandbits(128), version=4)),
            "eventName": name,
            "visitorId": person.visitor_id,
            "timestamp": to_rfc3339(self._now),
            "page": {"url": self._url, "title": _title(self._url), "lang": person.language},
            "userAgent": person.user_agent,
            "ipAddress": person.ip_address,
            "language": person.language,
        }
        if self._referrer:
            event["referrerUrl"] = self._referrer
        if attributes:
            event["attributes"] = attributes
        self.events.append((self._now, event | more))
        self._now += self.rng.randint(2_000, 110_000)

    def _cart_attributes(self) -> dict[str, Any]:
        return {"cartValue": round(sum(self.cart.values()), 2), "skus": list(self.cart)}


def _title(url: str) -> str:
    last = url.removeprefix(SITE).partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"{last.replace('-', ' ').capitalize() or 'Home'} | Shop"


def _look_around(walk: _Walk) -> None:
    walk.arrive(walk.rng.choice(("/", "/", f"/blog/{walk.rng.choice(POSTS)}")))
    for _ in range(walk.rng.randint(0, 4)):
        walk.view(walk.rng.choice(("/", f"/blog/{walk.rng.choice(POSTS)}", "/contact", "/pricing")))


def _shop(walk: _Walk) -> None:
    wanted = walk.rng.sample(list(PRODUCTS), walk.rng.randint(2, 4))
    walk.arrive(walk.rng.choice(("/", f"/products/{wanted[0]}")))
    for slug in wanted:
        walk.view_product(slug)
        if walk.rng.random() < 0.55:
            walk.add(slug)
    if not walk.cart:
        return
    walk.view("/cart")
    if walk.rng.random() < 0.25:
        walk.remove()
    if walk.cart and walk.rng.random() < 0.4:
        walk.order()


def _compare_prices(walk: _Walk) -> None:
    walk.arrive("/pricing")
    for _ in range(walk.rng.randint(1, 3)):
        walk.view(walk.rng.choice(("/", "/contact", "/blog/packing-light")))
        walk.view("/pricing")
    if walk.rng.random() < 0.7:
        walk.view("/contact")
        walk.happen("form_started", {"form": "contact-sales"})
        if walk.rng.random() < 0.6:
            walk.happen("form_submitted", {"form": "contact-sales"}, traits=walk.known())
            # Some come back to the price list once they are known.
            walk.view("/pricing")


def _look_for_work(walk: _Walk) -> None:
    walk.arrive("/careers")
    for path in walk.rng.sample(("/careers/engineer", "/careers/buyer", "/careers/store"), 2):
        walk.view(path)
    walk.view("/pricing")


def _search(walk: _Walk) -> None:
    walk.arrive("/")
    for query in walk.rng.sample(SEARCHES, walk.rng.randint(1, 3)):
        walk.view("/search")
        results = 0 if query in ("gift card", "refund") else walk.rng.randint(1, 40)
        walk.happen("search_performed", {"results": results}, searchQuery=query)
    walk.view_product(walk.rng.choice(list(PRODUCTS)))


def _ask_for_help(walk: _Walk) -> None:
    walk.arrive("/contact")
    conversation = {"id": f"c-{walk.rng.randint(1000, 9999)}", "channel": walk.rng.choice(("chat", "callback"))}
    tags = walk.rng.sample(TOPICS, walk.rng.randint(1, 2))
    walk.happen("interaction_started", {"conversation": conversation | {"state": "waiting"}, "tags": tags})
    if walk.rng.random() < 0.3:
        walk.view("/contact")
    rating = {"rating": walk.rng.randint(1, 5)} if walk.rng.random() < 0.6 else {}
    state = walk.rng.choice(("resolved", "resolved", "abandoned"))
    more = {"traits": walk.known()} if walk.rng.random() < 0.5 else {}
    attributes = {"conversation": conversation | {"state": state}, "tags": tags, **rating}
    walk.happen("interaction_finished", attributes, **more)


#: What people do in a session, and how often.
_HABITS: dict[Callable[[_Walk], None], int] = {
    _look_around: 30,
    _shop: 34,
    _compare_prices: 14,
    _look_for_work: 6,
    _search: 10,
    _ask_for_help: 6,
}


def _person(number: int, rng: Random) -> _Person:
    name = rng.choice(NAMES)
    network = rng.choice(("203.0.113", "198.51.100"))
    mailbox = name.encode("ascii", "ignore").decode().lower()
    return _Person(
        visitor_id=f"v-{number:04d}",
        user_agent=rng.choice(_USER_AGENTS[:8] * 2 + _USER_AGENTS[8:]),
        ip_address=f"{network}.{rng.randint(1, 254)}",
        language=rng.choice(("en", "en", "de", "fr")),
        given_name=name,
        email=f"{mailbox}{number}@example.{rng.choice(('com', 'org', 'net'))}",
    )


def generate(seed: int = 7, visitors: int = 280) -> Iterator[dict[str, Any]]:
    """Events of one day in time order, about nine for each visitor; the same for the same arguments.

    About one in a hundred comes twice, with the same ``eventId``, as browsers do that repeat a request.

    Args:
        seed: Another seed is another day.
        visitors: How many people come.
    """
    rng = Random(seed)  # noqa: S311 - made-up shoppers are no secret
    timed: list[tuple[int, dict[str, Any]]] = []
    for number in range(1, visitors + 1):
        # Few at night, most in the afternoon; the last ones have time enough for three sessions.
        walk = _Walk(_person(number, rng), rng, DAY + int(rng.triangular(0, 16, 12) * HOUR))
        for session in range(rng.choice((1, 1, 1, 2, 2, 3))):
            if session:
                walk.leave()
            rng.choices(list(_HABITS), list(_HABITS.values()))[0](walk)
        timed += walk.events
    timed += [(at + 700, event) for at, event in timed if rng.random() < 0.01]
    timed.sort(key=lambda pair: pair[0])
    for _, event in timed:
        yield event


def packed(seed: int = 7) -> bytes:
    """The sample as gzip of JSON lines; byte for byte the same every time."""
    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in generate(seed))
    return gzip.compress(lines, mtime=0)


if __name__ == "__main__":
    sys.stdout.buffer.write(packed())
