"""Deliveries and dead letters: listed, shown, and replayed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from heapq import nlargest
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec.structs import replace
from starlette.responses import JSONResponse

from actionmap.admin.requests import Guard, json_body
from actionmap.collect.problem import Refusal
from actionmap.collect.producer import EventProducer, Stored
from actionmap.consume.parse import REPLAY_HEADER, Record, Replay
from actionmap.delivery import DeadLetter, Delivery
from actionmap.event import to_rfc3339
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.simulate import firing
from actionmap.store.protocols import Store

#: Among so many owed deliveries (next due first) and dead letters (newest first; records are there too) of each
#: partition the newest deliveries are looked for.
_LOOKED_AT = 2000
#: Ids taken by one request.
_AT_ONCE = 1000

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
            now = wall_clock()
            again = replace(letter.delivery, attempts=0, last_error=None, owed_at=now)
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


def deliveries_router(registry: Registry, store: Store, guard: Guard, partitions: int) -> APIRouter:
    """``/api/v1/deliveries``."""
    router = APIRouter(tags=["deliveries"])

    @router.get("/api/v1/deliveries", summary="List deliveries that are owed or dead, newest first",
                response_model=dict[str, Any])  # fmt: skip
    async def deliveries(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
        """Of each partition, the 2,000 owed deliveries due next and the newest 2,000 dead letters are looked at."""
        guard.check(request, "read")
        found: list[tuple[Delivery, str]] = []
        for partition in range(partitions):
            owed = await store.owed(partition, limit=_LOOKED_AT)
            found += [(delivery, _state(delivery)) for delivery in owed]
            dead = await store.dead_letters(partition, limit=_LOOKED_AT)
            found += [(letter.delivery, "dead") for letter in dead if letter.delivery is not None]
            found = nlargest(limit, found, key=lambda row: row[0].at)
        return JSONResponse({"items": [_as_json(registry, delivery, state) for delivery, state in found]})

    @router.get("/api/v1/deliveries/{id_}", summary="Show one delivery that is owed or dead",
                response_model=dict[str, Any])  # fmt: skip
    async def delivery(request: Request, id_: str) -> JSONResponse:
        guard.check(request, "read")
        for partition in range(partitions):
            owed = await store.delivery(partition, id_)
            if owed is not None:
                return JSONResponse(_as_json(registry, owed, _state(owed)))
            letter = await store.dead_letter(partition, id_)
            if letter is not None and letter.delivery is not None:
                return JSONResponse(_as_json(registry, letter.delivery, "dead"))
        raise Refusal(404, f"no delivery {id_} is owed or dead; those that were accepted are not kept")

    return router


def dead_letters_router(registry: Registry, store: Store, guard: Guard, partitions: int, replays: Replays) -> APIRouter:
    """``/api/v1/dead-letters``."""
    router = APIRouter(tags=["dead letters"])

    @router.get("/api/v1/dead-letters", summary="List dead letters, newest first", response_model=dict[str, Any])
    async def dead_letters(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        reason: Annotated[str | None, Query(description="only those with this reason")] = None,
    ) -> JSONResponse:
        """With ``reason``, the newest 2,000 of each partition are looked at."""
        guard.check(request, "read")
        found: list[DeadLetter] = []
        for partition in range(partitions):
            letters = await store.dead_letters(partition, limit=_LOOKED_AT if reason else limit)
            found += [letter for letter in letters if reason in (None, letter.reason)]
        found.sort(key=lambda letter: letter.at, reverse=True)
        return JSONResponse({"items": [_letter_as_json(registry, letter) for letter in found[:limit]]})

    async def find(id_: str) -> tuple[int, DeadLetter]:
        for partition in range(partitions):
            letter = await store.dead_letter(partition, id_)
            if letter is not None:
                return partition, letter
        raise Refusal(404, f"there is no dead letter {id_}")

    @router.post("/api/v1/dead-letters/replay", summary="Bring dead letters back to where they fell out",
                 response_model=dict[str, Any])  # fmt: skip
    async def replay(request: Request) -> JSONResponse:
        """Body: ``{"ids": [...]}``, at most 1,000: a record goes into the topic again, a delivery into the outbox.

        A delivery keeps its id and its body, and has all its attempts again.
        """
        guard.check(request, "publish")
        rows = []
        for id_ in _ids(await json_body(request)):
            try:
                problem = await replays.replay(*await find(id_))
            except Refusal as refusal:
                problem = str(refusal)
            rows.append({"id": id_, "replayed": not problem, "detail": problem})
        return JSONResponse({"items": rows})

    @router.get("/api/v1/dead-letters/{id_:path}", summary="Show one dead letter", response_model=dict[str, Any])
    async def dead_letter(request: Request, id_: str) -> JSONResponse:
        guard.check(request, "read")
        _, letter = await find(id_)
        return JSONResponse(_letter_as_json(registry, letter))

    return router


def _as_json(registry: Registry, delivery: Delivery, state: str) -> dict[str, Any]:
    shown = firing(delivery, registry.rulebook.integrations.get(delivery.integration))
    return {**shown, "id": delivery.id, "state": state, "attempts": delivery.attempts, "error": delivery.last_error}


def _letter_as_json(registry: Registry, letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": to_rfc3339(letter.at),
        "key": letter.key,
        "value": letter.value,
        "actionMaps": list(letter.action_maps),
        "delivery": _as_json(registry, letter.delivery, "dead") if letter.delivery else None,
    }


def _state(delivery: Delivery) -> str:
    return "retrying" if delivery.attempts else "pending"


def _ids(body: Any) -> list[str]:
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids) or not 0 < len(ids) <= _AT_ONCE:
        raise Refusal(400, f'the body is {{"ids": ["…"]}} with at least one and at most {_AT_ONCE:,} ids')
    return list(dict.fromkeys(ids))
