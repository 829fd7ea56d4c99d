"""Deliveries and dead letters: listed and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nlargest
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse

from actionmap.admin.auth import Caller
from actionmap.admin.delivery_json import State, delivery_json, letter_json, owed_state
from actionmap.admin.describe import operation, refer
from actionmap.admin.requests import Guard
from actionmap.admin.schemas.deliveries import DELIVERY, LETTER, DeliveryList, LetterList, ShownDelivery, ShownLetter
from actionmap.catalog.models import Integration
from actionmap.collect.problem import Refusal
from actionmap.consume.ends import partition_of
from actionmap.delivery import DeadLetter, Delivery
from actionmap.registry import Registry
from actionmap.store.protocols import NOT_YET, Store

#: Among so many owed deliveries (next due first), dead letters (newest first; records are there too) and accepted ones
#: of each partition those that are asked for are looked for.
_LOOKED_AT = 2000
Id = Annotated[str, Path(alias="id", description="The id of the delivery.")]
LetterId = Annotated[
    str, Path(alias="id", description="`topic/partition/offset` of a record, or the id of a delivery.")
]
_DELIVERIES = operation("`read`", refer(DeliveryList), {"items": [DELIVERY]}, problems=(422,))
_DELIVERY = operation("`read`", refer(ShownDelivery), DELIVERY, problems=(404,))
_LETTERS = operation("`read`", refer(LetterList), {"items": [LETTER]}, problems=(422,))
_LETTER = operation("`read`", refer(ShownLetter), LETTER, problems=(404,))
_OWED: tuple[State, ...] = ("owed", "waiting", "retrying")


class Wanted(BaseModel):
    """Which deliveries are asked for; what is None takes all."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )

    integration: str | None = None
    """Only those to this integration."""
    webhook: str | None = None
    """Only those of this webhook."""
    action_map: str | None = None
    """Only those of this action map."""
    visitor_id: str | None = None
    """Only those of this visitor."""

    def takes(self, delivery: Delivery) -> bool:
        """Whether ``delivery`` is one of them."""
        return (
            self.integration in (None, delivery.integration)
            and self.webhook in (None, delivery.webhook)
            and self.action_map in (None, delivery.action_map)
            and self.visitor_id in (None, delivery.visitor_id)
        )

    def partitions(self, number: int) -> Iterable[int]:
        """Where they may be, of so many partitions."""
        return range(number) if self.visitor_id is None else [partition_of(self.visitor_id.encode(), number)]


class _Listed(Wanted):
    state: State | None = None
    """Only those in this state."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many there are at most."""


class _Row(NamedTuple):
    delivery: Delivery
    state: State
    due: int | None = None


class _Deliveries:
    """What the store knows of deliveries."""

    def __init__(self, store: Store, partitions: int) -> None:
        self._store = store
        self._partitions = partitions

    async def listed(self, asked: _Listed, is_seen: Callable[[Delivery], bool]) -> list[_Row]:
        found: list[_Row] = []
        for partition in asked.partitions(self._partitions):
            rows = await self._all(partition, asked.state)
            rows = [row for row in rows if asked.takes(row.delivery) and is_seen(row.delivery)]
            found += [row for row in rows if asked.state in (None, row.state)]
            found = nlargest(asked.limit, found, key=lambda row: row.delivery.at)
        return found

    async def _all(self, partition: int, state: State | None) -> list[_Row]:
        rows: list[_Row] = []
        if state is None or state in _OWED:
            due_from = NOT_YET if state == "waiting" else 0
            rows += await self._rows(partition, await self._store.owed(partition, limit=_LOOKED_AT, due_from=due_from))
        if state in (None, "dead"):
            letters = await self._store.dead_letters(partition, limit=_LOOKED_AT)
            rows += [_Row(letter.delivery, "dead") for letter in letters if letter.delivery is not None]
        if state in (None, "delivered"):
            accepted = await self._store.journal.newest(partition, limit=_LOOKED_AT)
            rows += [_Row(delivery, "delivered") for delivery in accepted]
        return rows

    async def _rows(self, partition: int, owed: list[Delivery]) -> list[_Row]:
        times = await self._store.due_times(partition, [delivery.id for delivery in owed])
        return [_Row(one, owed_state(one, due), due) for one, due in zip(owed, times, strict=True)]

    async def find(self, id_: str) -> _Row:
        for partition in range(self._partitions):
            owed = await self._store.delivery(partition, id_)
            if owed is not None:
                return (await self._rows(partition, [owed]))[0]
            letter = await self._store.dead_letter(partition, id_)
            if letter is not None and letter.delivery is not None:
                return _Row(letter.delivery, "dead")
            accepted = await self._store.journal.find(partition, id_)
            if accepted is not None:
                return _Row(accepted, "delivered")
        raise no_delivery(id_)


def no_delivery(id_: str) -> Refusal:
    """There is no delivery with that id, or none that the caller may see."""
    return Refusal(404, f"no delivery {id_} is owed, dead, or among the accepted ones that are kept")


def is_seen(registry: Registry, caller: Caller, delivery: Delivery | None) -> bool:
    """Whether ``delivery`` is of a map that ``caller`` may see; records, and deliveries of maps that are gone, are for
    keys of no company."""
    if caller.company is None:
        return True
    action_map = registry.definitions.get(f"ActionMap/{delivery.action_map}") if delivery is not None else None
    return action_map is not None and caller.sees(action_map)


def deliveries_router(registry: Registry, store: Store, guard: Guard, partitions: int) -> APIRouter:
    """``/api/v1/deliveries``."""
    router = APIRouter(tags=["deliveries"])
    known = _Deliveries(store, partitions)

    def shown(row: _Row) -> dict[str, Any]:
        return delivery_json(row.delivery, _integration(registry, row.delivery), row.state, row.due)

    @router.get("/api/v1/deliveries", summary="List deliveries, newest first", **_DELIVERIES)
    async def deliveries(request: Request, asked: Annotated[_Listed, Query()]) -> JSONResponse:
        """Of each partition, the 2,000 owed deliveries due next, the newest 2,000 dead letters and the accepted ones
        that are kept are looked at; with `visitorId`, of the visitor's partition.
        """
        caller = guard.check_of_company(request, "read")
        rows = await known.listed(asked, lambda delivery: is_seen(registry, caller, delivery))
        return JSONResponse({"items": [shown(row) for row in rows]})

    @router.get("/api/v1/deliveries/{id}", summary="Show one delivery, with its attempts", **_DELIVERY)
    async def delivery(request: Request, id_: Id) -> JSONResponse:
        """Owed, dead, or among the accepted ones that are kept."""
        caller = guard.check_of_company(request, "read")
        row = await known.find(id_)
        if not is_seen(registry, caller, row.delivery):
            raise no_delivery(id_)
        return JSONResponse(shown(row))

    return router


def dead_letters_router(registry: Registry, store: Store, guard: Guard, partitions: int) -> APIRouter:
    """``/api/v1/dead-letters``."""
    router = APIRouter(tags=["dead letters"])

    def shown(letter: DeadLetter) -> dict[str, Any]:
        return letter_json(letter, _integration(registry, letter.delivery) if letter.delivery else None)

    @router.get("/api/v1/dead-letters", summary="List dead letters, newest first", **_LETTERS)
    async def dead_letters(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000, description="How many there are at most.")] = 100,
        reason: Annotated[str | None, Query(description="Only those with this reason.")] = None,
    ) -> JSONResponse:
        """With ``reason``, the newest 2,000 of each partition are looked at."""
        caller = guard.check_of_company(request, "read")
        found: list[DeadLetter] = []
        for partition in range(partitions):
            looks_at = _LOOKED_AT if reason or caller.company else limit
            letters = await store.dead_letters(partition, limit=looks_at)
            seen = [letter for letter in letters if is_seen(registry, caller, letter.delivery)]
            found += [letter for letter in seen if reason in (None, letter.reason)]
        found.sort(key=lambda letter: letter.at, reverse=True)
        return JSONResponse({"items": [shown(letter) for letter in found[:limit]]})

    @router.get("/api/v1/dead-letters/{id:path}", summary="Show one dead letter", **_LETTER)
    async def dead_letter(request: Request, id_: LetterId) -> JSONResponse:
        """A record that was never understood, or a delivery that was given up."""
        caller = guard.check_of_company(request, "read")
        _, letter = await find_letter(store, partitions, id_)
        if not is_seen(registry, caller, letter.delivery):
            raise no_letter(id_)
        return JSONResponse(shown(letter))

    return router


async def find_letter(store: Store, partitions: int, id_: str) -> tuple[int, DeadLetter]:
    """The dead letter with that id, and its partition.

    Raises:
        Refusal: there is none.
    """
    for partition in range(partitions):
        letter = await store.dead_letter(partition, id_)
        if letter is not None:
            return partition, letter
    raise no_letter(id_)


def no_letter(id_: str) -> Refusal:
    """There is no dead letter with that id, or none that the caller may see."""
    return Refusal(404, f"there is no dead letter {id_}")


def _integration(registry: Registry, delivery: Delivery) -> Integration | None:
    return registry.rulebook.integrations.get(delivery.integration)
