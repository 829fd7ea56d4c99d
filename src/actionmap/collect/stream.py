"""A long stream of events into Kafka, never more than so many of them unacknowledged."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from aiokafka.errors import KafkaError

from actionmap.collect.producer import Outgoing
from actionmap.errors import Unreachable


class StreamTarget(Protocol):
    """What a stream needs of `EventProducer`; the methods are described there."""

    def has_room(self, more_bytes: int = 0) -> bool:
        """Whether ``more_bytes`` leave the buffer below its limit."""

    async def hand_over(self, event: Outgoing) -> asyncio.Future[Any]:
        """Give one event to the client's buffer."""

    async def wait_for_progress(self) -> None:
        """Wait until at least one more event is settled."""


class EventStream:
    """Hands events over in order, and waits where Kafka falls behind.

    The first event that Kafka does not acknowledge ends the stream: those after it would arrive without it.

    Args:
        producer: Where the events go.
        in_flight: How many of them may be unacknowledged at a time.
    """

    def __init__(self, producer: StreamTarget, in_flight: int = 10_000) -> None:
        self._producer = producer
        self._in_flight = in_flight
        self._open = 0
        self._failure: BaseException | None = None
        #: Events that Kafka has acknowledged.
        self.stored = 0

    async def put(self, event: Outgoing) -> None:
        """Hand over one event, as soon as there is room for it.

        Raises:
            Unreachable: an earlier event was not acknowledged, or Kafka is silent.
        """
        while self._open and (self._open >= self._in_flight or not self._producer.has_room(event.cost)):
            await self._producer.wait_for_progress()
        self._raise_failure()
        try:
            answer = await self._producer.hand_over(event)
        except KafkaError as error:
            raise Unreachable(f"Kafka took the event not: {error!r}") from error
        self._open += 1
        answer.add_done_callback(self._settle)

    async def drain(self) -> None:
        """Wait until all events are acknowledged.

        Raises:
            Unreachable: one was not, or Kafka is silent.
        """
        while self._open:
            await self._producer.wait_for_progress()
        self._raise_failure()

    def _settle(self, answer: asyncio.Future[Any]) -> None:
        self._open -= 1
        error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
        if error is None:
            self.stored += 1
        elif self._failure is None:
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise Unreachable(f"Kafka did not acknowledge an event: {self._failure!r}") from self._failure
