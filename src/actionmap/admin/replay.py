"""Dead letters brought back to where they fell out: one by one, or all that are asked for, paced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Request
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import JSONResponse

from actionmap.admin.deliveries import Wanted, find_letter
from actionmap.admin.describe import body, operation, refer
from actionmap.admin.requests import Guard, body_of, json_body
from actionmap.admin.schemas.deliveries import (
    REPLAYED_DELIVERIES,
    REPLAYED_LETTERS,
    FoundDeliveries,
    ReplayedDeliveries,
    ReplayedLetters,
    ReplayIds,
)
from actionmap.admin.visitors import hidden
from actionmap.collect.problem import Refusal
from actionmap.collect.producer import EventProducer, Stored
from actionmap.consume.parse import REPLAY_HEADER, Record, Replay
from actionmap.delivery import DeadLetter, Delivery
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.store.protocols import Store

#: Dead deliveries looked at in one step.
_PAGE = 500
#: So many deliveries of one integration may be owed in a partition for more of its dead ones to be added: what is
#: replayed takes no room from new events, and a receiver that is still down gets no more than that.
MOST_OWED = 1000

#: So far ahead of now a delivery may become due, in milliseconds.
_FARTHEST_MS = 30 * 86_400_000
_NEVER_RENDERED = (
    "it was never rendered, so there is nothing to send: mend the rules and send its event again, with another eventId"
)
_BODY = "the body is an object: integration, webhook, actionMap, visitorId, perSecond, dueFrom, after, dryRun"
_PLACE = "give what the answer before said"

#: What the audit calls the dead letters that one request has replayed without naming them.
MANY = "*"

#: Reads the record of a partition at an offset anew; None when Kafka has it no more.
ReadRecord = Callable[[int, int], Awaitable[Record | None]]


class Replays:
    """Brings dead letters back to where they fell out: a record into the topic, a delivery into the outbox."""

    def __init__(self, store: Store, producer: EventProducer, read_record: ReadRecord) -> None:
        """``producer``: into the topic that ``read_record`` reads."""
        self._store = store
        self._producer = producer
        self.read_record = read_record

    async def replay(self, partition: int, letter: DeadLetter) -> str:
        """Replay ``letter``; returns why it could not be, "" when it was.

        Raises:
            Unreachable: Kafka or the store do not answer.
        """
        if letter.delivery is not None:
            if not letter.was_rendered:
                return _NEVER_RENDERED
            now = wall_clock()
            again = anew(letter.delivery, now)
            return "" if await self._store.revive(partition, [again], now=now) else "somebody else has replayed it"
        if "#" in letter.id:
            return "it broke at a timer, which has no record; send its event again"
        log_name, _, offset = letter.id.rsplit("/", 2)
        if log_name != self._producer.log_name:
            return f"its log {log_name} is gone"
        record = await self.read_record(partition, int(offset))
        if record is None or record.offset != int(offset):
            return "Kafka has the record no more; what was kept of it is shown by: dead-letters show"
        note = msgspec.json.encode(Replay(letter.replay_of or letter.id, letter.action_maps))
        told = await self._producer.send_record(partition, record.key, record.value, [(REPLAY_HEADER, note)])
        if not isinstance(told, Stored):
            return told.error
        await self._store.forget_dead(partition, [letter.id])
        return ""


def anew(delivery: Delivery, due: int) -> Delivery:
    """A dead ``delivery``, owed again from ``due`` on, with all its attempts; its log goes on."""
    return replace(delivery, attempts=0, last_error=None, owed_at=due)


class ReplayedUpTo(BaseModel):
    """How far a replay of many has come."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    partition: Annotated[int, Field(ge=0)] = 0
    """Of the events topic."""
    passed: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Dead deliveries of it that were looked at, and stay."""
    until: Annotated[int, Field(ge=0)]
    """Those that died later, in milliseconds since 1970, are left: a receiver that still refuses buries them again."""


class DeliveryReplay(Wanted):
    """Which dead deliveries are owed again, and how fast."""

    per_second: Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)] = 50.0
    """How many become due in a second."""
    due_from: int = 0
    """When the first one is due, in milliseconds since 1970; now at the earliest."""
    after: ReplayedUpTo | None = None
    """`after` of the answer before; without it, from the beginning."""
    dry_run: bool = False
    """Say how many there are, change nothing."""


class _Found(NamedTuple):
    """What dead deliveries are asked for."""

    replayable: int
    never_rendered: int


class _Step(NamedTuple):
    """What one request has replayed."""

    replayed: int
    #: Where it goes on; None: there are no more.
    next: ReplayedUpTo | None
    #: Nothing more is added before those that are owed go.
    waits: bool = False


class PacedReplay:
    """Owes dead deliveries again, the oldest of each partition first, spread over time."""

    def __init__(self, store: Store, partitions: int) -> None:
        self._store = store
        self._partitions = partitions

    async def count(self, asked: Wanted) -> _Found:
        """How many dead deliveries are asked for."""
        counted: Counter[bool] = Counter()
        for partition in range(self._partitions):
            start = 0
            while letters := await self._store.dead_deliveries(partition, start=start, limit=_PAGE):
                start += len(letters)
                counted.update(one.was_rendered for one in letters if one.delivery and asked.takes(one.delivery))
        return _Found(counted[True], counted[False])

    async def some(self, asked: DeliveryReplay, due_from: int, now: int) -> _Step:
        """Owe some more of them again, due from ``due_from`` on at the pace that is asked, and not too far ahead."""
        after = asked.after or ReplayedUpTo(until=now)
        partition, passed = after.partition, after.passed
        most = max(0, int((now + _FARTHEST_MS - due_from) * asked.per_second / 1000))
        while partition < self._partitions:
            found = await self._store.dead_deliveries(partition, start=passed, limit=_PAGE)
            letters = [letter for letter in found if letter.at <= after.until]
            if not letters:
                partition, passed = partition + 1, 0
                continue
            room = await self._store.owed_by_integration(partition)
            wanted, seen = _with_room(letters, asked, room, most)
            due = [anew(one, due_from + round(1000 * n / asked.per_second)) for n, one in enumerate(wanted)]
            replayed = await self._store.revive(partition, due, now=now)
            passed += seen - len(wanted)
            if wanted or seen < len(letters):
                place = ReplayedUpTo(partition=partition, passed=passed, until=after.until)
                return _Step(replayed, place, waits=not wanted)
        return _Step(0, None)


def _with_room(letters: list[DeadLetter], asked: Wanted, owed: dict[str, int], most: int) -> tuple[list[Delivery], int]:
    """The deliveries among ``letters`` that are asked for and fit beside those ``owed``; and how many were seen."""
    wanted: list[Delivery] = []
    for seen, letter in enumerate(letters):
        one = letter.delivery
        if one is not None and letter.was_rendered and asked.takes(one):
            if owed.get(one.integration, 0) >= MOST_OWED or len(wanted) >= most:
                return wanted, seen
            owed[one.integration] = owed.get(one.integration, 0) + 1
            wanted.append(one)
    return wanted, len(letters)


_REPLAY = operation(
    "`publish`", refer(ReplayedLetters), REPLAYED_LETTERS, problems=(422,),
    reads=body(refer(ReplayIds), {"ids": ["website-events/3/17"]}),
)  # fmt: skip
_REPLAY_MANY = operation(
    "`publish`", {"anyOf": [refer(ReplayedDeliveries), refer(FoundDeliveries)]}, REPLAYED_DELIVERIES,
    reads=body(refer(DeliveryReplay), {"integration": "crm", "perSecond": 50}), problems=(422,),
)  # fmt: skip


def replay_router(registry: Registry, store: Store, guard: Guard, partitions: int, replays: Replays) -> APIRouter:
    """``/api/v1/dead-letters/replay`` and ``/api/v1/deliveries/replay``."""
    router = APIRouter(tags=["dead letters"])
    paced = PacedReplay(store, partitions)

    @router.post("/api/v1/dead-letters/replay", summary="Bring dead letters back to where they fell out", **_REPLAY)
    async def replay(request: Request) -> JSONResponse:
        """Body: ``{"ids": [...]}``, at most 1,000: a record goes into the topic again, a delivery into the outbox.

        A delivery keeps its id and its body, and has all its attempts again; one that was never rendered has none.
        """
        caller = guard.check(request, "publish")
        rows = []
        for id_ in dict.fromkeys((await body_of(request, ReplayIds)).ids):
            try:
                partition, letter = await find_letter(store, partitions, id_)
                problem = await replays.replay(partition, letter)
            except Refusal as refusal:
                problem = str(refusal)
            if not problem:
                company = _company(registry, letter.delivery)
                await registry.tell("replay", "DeadLetter", id_, by=caller.name, company=company)
            rows.append({"id": id_, "replayed": not problem, "detail": problem})
        return JSONResponse({"items": rows})

    @router.post("/api/v1/deliveries/replay", summary="Owe many dead deliveries again, paced", **_REPLAY_MANY)
    async def replay_many(request: Request) -> JSONResponse:
        """Body: `integration`, `webhook`, `actionMap`, `visitorId` (those given narrow it down), `perSecond` (50), and
        of the answer before `dueFrom` and `after`, until `after` is null. With `dryRun` nothing is changed: the answer
        says how many are `found`, and beside them how many stay dead because they were `neverRendered`.

        The answer says how many were `replayed`, and whether it `waits`: then too many are owed to the receiver for
        more to be added, or the next would be due in more than 30 days; ask again later. What dies after the first
        request is left.
        """
        caller = guard.check(request, "publish")
        now = wall_clock()
        asked = _asked(await json_body(request), now + _FARTHEST_MS)
        if asked.dry_run:
            found = await paced.count(asked)
            return JSONResponse({"found": found.replayable, "neverRendered": found.never_rendered})
        due_from = max(now, asked.due_from)
        step = await paced.some(asked, due_from, now)
        if step.replayed:
            await registry.tell("replay", "DeadLetter", MANY, by=caller.name, company=_company(registry, asked),
                                replayed=step.replayed, **_told_of(asked))  # fmt: skip
        return JSONResponse({
            "replayed": step.replayed,
            "dueFrom": min(due_from + round(1000 * step.replayed / asked.per_second), now + _FARTHEST_MS),
            "after": step.next.model_dump() if step.next else None,
            "waits": step.waits,
        })  # fmt: skip

    return router


def _company(registry: Registry, some: Wanted | Delivery | None) -> str:
    """Whose deliveries these are, as far as a definition that they name tells; "" for nobody's."""
    if some is None:
        return ""
    keys = (f"ActionMap/{some.action_map}", f"Webhook/{some.webhook}", f"Integration/{some.integration}")
    return next((registry.definitions[key].company for key in keys if key in registry.definitions), "")


def _told_of(asked: Wanted) -> dict[str, str]:
    """What of deliveries was asked for, as the audit tells it."""
    given = asked.model_dump(include=set(Wanted.model_fields), by_alias=True, exclude_none=True)
    return {name: hidden(value) if name == "visitorId" else value for name, value in given.items()}


def _asked(given: Any, latest: int) -> DeliveryReplay:
    if not isinstance(given, dict):
        raise Refusal(400, _BODY, path="body")
    try:
        asked = DeliveryReplay.model_validate(given)
    except ValidationError as error:
        raise Refusal(400, "; ".join(map(_told, error.errors()))) from None
    if asked.due_from > latest:
        raise Refusal(400, f"dueFrom: at most 30 days from now, which is {latest}")
    return asked


def _told(error: ErrorDetails) -> str:
    """One thing that is wrong with a body, in words; the library's name the class that it was read into."""
    path = ".".join(map(str, error["loc"]))
    if error["loc"][0] == "after":
        return f"{path}: {_PLACE}"
    return f"{path}: {'there is no such field' if error['type'] == 'extra_forbidden' else error['msg']}"
