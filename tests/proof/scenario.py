"""Scenario: from a point and a seed, all that one run is made of: log, rules, receiver's moods, cuts."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal, NamedTuple

from cuts import POINTS, Cut, any_kill, cut_at

from support import T0, event, rules

PARTITIONS = (0, 1)
_MINUTE = 60_000
_NAMES = ("order", "order", "visit", "added", "bought", "leave", "other")
#: The map that the rulebook gets while the run lasts.
ADDED_MAP = "each-order-again"

#: The map that the outcomes of the map `ORDER_MAP` trigger.
ORDER_MAP, ANSWERED_MAP = "each-order", "answered"
_OF_ORDERS = {"key": "event.attributes.actionMap", "operator": "equal", "value": ORDER_MAP}

Mood = Literal["503", "cut"]


class Written(NamedTuple):
    """A record as it is put into the topic."""

    partition: int
    #: Its time, in milliseconds since 1970.
    timestamp: int
    key: bytes
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One run; the same for the same point and seed."""

    point: str
    seed: int
    #: How the store writes to its disk.
    fsync: Literal["always", "everysec"]
    #: The store is killed whenever the worker is; with ``everysec`` it loses what it had not promised to keep.
    store_dies: bool
    #: The cuts of each life of the worker; one more life follows without any.
    lives: tuple[tuple[Cut, ...], ...]
    #: The second half comes when the first one is evaluated, or the worker has died.
    log: tuple[tuple[Written, ...], tuple[Written, ...]]
    #: What happens to the n-th request, counted from 1, other than an answer 200.
    moods: dict[int, Mood]
    concurrency: int
    #: Visitors in the worker's memory.
    cache: int
    #: With which request that is received the rulebook changes; None: never.
    rules_change: int | None

    @property
    def name(self) -> str:
        return f"{self.point.replace(':', '-').replace('_', '-')}-{self.seed}"

    @property
    def needs_own_store(self) -> bool:
        return self.store_dies or any(cut.when in ("store", "quiet") for life in self.lives for cut in life)


def scenario_of(point: str, seed: int) -> Scenario:
    """What is tried at ``point`` with ``seed``."""
    chance = random.Random(f"{point} {seed}")
    lives = [(cut_at(point, chance),)]
    while len(lives) < 3 and chance.random() < 0.5:
        lives.append((any_kill(chance),))
    store_dies = POINTS[point].kills and seed % 3 == 1
    when = POINTS[point].when
    loses_tail = store_dies or when == "quiet" or (when == "store" and seed % 2 == 1)
    bad = chance.sample(range(2, 12), 3)
    return Scenario(
        point=point,
        seed=seed,
        fsync="everysec" if loses_tail else "always",
        store_dies=store_dies,
        lives=tuple(lives),
        log=log_of(chance),
        moods={1: "503", **{nth: chance.choice(("503", "cut")) for nth in bad}},
        concurrency=chance.choice((1, 8, 64)),
        cache=chance.choice((0, 2, 1000)),
        rules_change=chance.randint(1, 12) if chance.random() < 0.4 else None,
    )


def rules_of(base_url: str, concurrency: int, *, changed: bool) -> list[dict[str, Any]]:
    """Maps that fire at once, after a delay, when something did not come, and when an order was told; one refused.

    The body tells how many events the visitor had, so it is right only if each was judged once and in order.
    """
    written = rules(base_url, limits={"concurrency": concurrency})
    written[1]["contract"]["input"]["properties"]["count"] = {"type": "integer"}
    written[2]["mappings"]["count"] = {"lookup": "visitor.eventCount"}
    written[2]["delivery"] = {"retry": {"schedule": ["0s"], "maxAge": "99999d"}}
    written[4].update({"activation": {"type": "delay", "delaySeconds": 90}, "frequency": "every"})
    gone = {**written[1], "name": "tell-gone", "request": {"method": "POST", "path": "/gone"}}
    written += [gone, {**written[2], "name": "gone", "dataAction": "tell-gone"}]
    answer = {"type": "object", "properties": {"delivery": {"type": "string"}}}
    written += [
        {**written[1], "name": "tell-answer", "contract": {"input": answer}, "request": {"path": "/answered"}},
        {**written[2], "name": "answered", "dataAction": "tell-answer",
         "mappings": {"delivery": {"lookup": "event.attributes.deliveryId"}}},
        _map(ANSWERED_MAP, {"event": "webhook_succeeded", "where": [_OF_ORDERS]}, webhook="answered"),
    ]  # fmt: skip
    written += [_map("refused", {"event": "leave"}, webhook="gone"), _map("abandoned", {"absence": _ABSENCE})]
    return [*written, _map(ADDED_MAP, {"event": "order"})] if changed else written


_ABSENCE = {"after": {"event": "added"}, "of": {"event": "bought"}, "for": "150s"}


def _map(name: str, trigger: dict[str, Any], *, webhook: str = "tell-shop") -> dict[str, Any]:
    return {"kind": "ActionMap", "name": name, "trigger": trigger, "frequency": "every", "action": {"webhook": webhook}}


def log_of(chance: random.Random, *, each: int = 20) -> tuple[tuple[Written, ...], tuple[Written, ...]]:
    """Two halves with ``each`` records per partition and half; a last record makes all timers due."""
    halves: tuple[list[Written], list[Written]] = ([], [])
    for partition in PARTITIONS:
        records = _partition(partition, chance, each)
        halves[0].extend(next(records) for _ in range(each))
        halves[1].extend(next(records) for _ in range(each))
        halves[1].append(_record(partition, T0 + 1440 * _MINUTE, f"last-{partition}", "other"))
    return tuple(halves[0]), tuple(halves[1])


def _partition(partition: int, chance: random.Random, each: int) -> Iterator[Written]:
    """Events on whole minutes, so that every timer is due half a minute from any event, far from what clocks add."""
    now, latest = T0, dict[str, Written]()
    bad = {chance.randrange(each), each + chance.randrange(each)}
    for n in count():
        now += _MINUTE * chance.choice((0, 1, 1, 2, 3, 25))
        visitor = f"v{partition}{chance.randrange(4)}"
        if n in bad:
            record = Written(partition, now, b"?", b'{"eventName": ')
        elif n in (0, 1):  # so that each half has what the receiver takes and what it refuses
            record = _record(partition, now, visitor, ("leave", "order")[n], n)
        elif visitor in latest and chance.random() < 0.15:
            record = latest[visitor]._replace(timestamp=now)  # a duplicate, if it has an id
        else:
            late = chance.choice((0, 0, 0, 1, 2))
            record = _record(partition, now, visitor, chance.choice(_NAMES), n, late=late, named=chance.random() < 0.7)
            latest[visitor] = record
        yield record


def _record(
    partition: int, now: int, visitor: str, name: str, n: int = -1, *, late: int = 0, named: bool = True
) -> Written:
    more: dict[str, Any] = {"attributes": {"n": n}}
    if named:
        more["eventId"] = f"{visitor}-{n}"
    if late:
        more["timestamp"] = datetime.fromtimestamp((now - late * _MINUTE) / 1000, UTC).isoformat()
    return Written(partition, now, visitor.encode(), event(visitor, name, **more))


def describe(scenario: Scenario) -> str:
    """In words for people."""
    lives = "; ".join(", ".join(f"{cut.point} #{cut.nth}" for cut in life) for life in scenario.lives)
    told = {"fsync": scenario.fsync, "storeDies": scenario.store_dies, "concurrency": scenario.concurrency,
            "cache": scenario.cache, "rulesChangeAt": scenario.rules_change, "moods": scenario.moods}  # fmt: skip
    return f"lives: {lives}; {json.dumps(told)}"
