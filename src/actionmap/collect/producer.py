"""Events into Kafka: what is handed over counts as stored only when every in-sync replica has it (``acks=all``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from actionmap.collect.topic import check_reachable, ensure_topic, kafka_errors_translated
from actionmap.errors import ActionmapError, Unreachable

__all__ = ["EventProducer", "NotStored", "Outgoing", "Overloaded", "Stored", "ensure_topic"]

#: What one record costs in memory beside its key and value, about.
RECORD_OVERHEAD_BYTES = 200
#: Share of the buffer above which new events are refused, so that those under way still fit.
HIGH_WATER = 0.8


class Overloaded(ActionmapError):
    """Kafka is slower than what comes in; nothing was taken, try again after a second."""


class Outgoing(NamedTuple):
    """One event on its way to Kafka."""

    #: The record's key, so that one visitor's events stay in one partition, in order.
    visitor_id: str
    #: The event as UTF-8 JSON.
    value: bytes

    @property
    def cost(self) -> int:
        """Bytes it holds until Kafka has acknowledged it, about."""
        return len(self.value) + len(self.visitor_id) + RECORD_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Kafka has the event, on all in-sync replicas."""

    topic: str
    partition: int
    #: None when the broker recognised a repeat of its own and no longer knew where it had put the first.
    offset: int | None

    @property
    def position(self) -> str | None:
        """``topic/partition/offset``: the id of an event that was sent without one."""
        return None if self.offset is None else f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    """Kafka has not acknowledged the event; it may still arrive, so repeat it with the same ``eventId``."""

    #: Why, in words for people.
    error: str


class EventProducer:
    """Sends events to one topic, and knows how much of it Kafka still has to acknowledge.

    Use it as an async context manager, or call `start` and `stop`.

    Args:
        bootstrap: ``host:port`` of one or more brokers, comma-separated.
        topic: Where the events go.
        log_name: What positions begin with; the topic when not given.
        idempotent: Let the broker drop what the client repeats. Tansu, the embedded broker, does not know how.
        buffer_bytes: What may wait for Kafka's acknowledgement; above 80 % of it new events are refused.
        ack_timeout_s: Seconds to wait for an acknowledgement; so long a silence also refuses new events.
        linger_ms: How long the first event of a batch waits for others.
        batch_bytes: The most that one partition's batch holds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        log_name: str = "",
        idempotent: bool = True,
        buffer_bytes: int = 64 * 1024 * 1024,
        ack_timeout_s: float = 5.0,
        linger_ms: int = 8,
        batch_bytes: int = 128 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        #: What the positions that it tells begin with.
        self.log_name = log_name or topic
        self._bootstrap = bootstrap
        self._idempotent = idempotent
        self._high_water_bytes = buffer_bytes * HIGH_WATER
        self._ack_timeout_s = ack_timeout_s
        self._linger_ms = linger_ms
        self._batch_bytes = batch_bytes
        self._clock = clock
        self._kafka: AIOKafkaProducer | None = None
        self._owed = 0
        self._owed_bytes = 0
        self._silent_since = 0.0
        self._settled = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect.

        Raises:
            SettingsError: the address has no such form.
            Unreachable: no broker answers, or it refuses idempotent producers.
        """
        await check_reachable(self._bootstrap, self._ack_timeout_s)
        kafka = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id="actionmap-collect",
            acks="all",
            enable_idempotence=self._idempotent,
            linger_ms=self._linger_ms,
            max_batch_size=self._batch_bytes,
            request_timeout_ms=round(self._ack_timeout_s * 1000),
            retry_backoff_ms=250,
        )
        try:
            with kafka_errors_translated(self._bootstrap):
                # Twice: aiokafka's own limit, which closes what it opened, shall come first.
                async with asyncio.timeout(2 * self._ack_timeout_s + 1):
                    await kafka.start()
        except Unreachable as error:
            await kafka.stop()
            if self._idempotent and kafka.client.cluster.brokers():
                raise Unreachable(
                    f"the Kafka broker at {self._bootstrap} answers, but gives out no producer id, which idempotent "
                    "sending needs; use Apache Kafka 0.11 or later, or connect with idempotent=False"
                ) from error
            raise
        except BaseException:
            await kafka.stop()
            raise
        self._kafka = kafka

    async def stop(self) -> None:
        """Wait up to the acknowledgement timeout for what is still owed, then close. Calling it twice is harmless."""
        kafka, self._kafka = self._kafka, None
        if kafka is None:
            return
        closing = asyncio.ensure_future(kafka.stop())
        await asyncio.wait([closing], timeout=self._ack_timeout_s)
        if not closing.done():
            # An idempotent producer repeats for ever while the broker is away, and its stop() waits for that.
            closing.cancel()
            await asyncio.wait([closing])
            sender = asyncio.ensure_future(kafka._sender.close())
            await asyncio.wait([sender], timeout=self._ack_timeout_s)
            sender.cancel()
            await kafka.client.close()
        elif not closing.cancelled():
            closing.result()

    @property
    def is_silent(self) -> bool:
        """Whether Kafka owes acknowledgements and has given none for longer than the timeout."""
        return self._owed > 0 and self._clock() - self._silent_since > self._ack_timeout_s

    def has_room(self, more_bytes: int = 0) -> bool:
        """Whether ``more_bytes`` leave the buffer below 80 %."""
        return self._owed_bytes + more_bytes <= self._high_water_bytes

    def check_room(self, more_bytes: int = 0) -> None:
        """Say whether ``more_bytes`` could be taken now.

        Raises:
            Overloaded: the buffer is full to 80 %.
            Unreachable: Kafka is silent, or the producer has not been started.
        """
        if self._kafka is None:
            raise Unreachable("the producer of events is not connected to Kafka")
        if self.is_silent:
            raise Unreachable(f"Kafka at {self._bootstrap} has acknowledged nothing for {self._ack_timeout_s:g} s")
        if not self.has_room(more_bytes):
            raise Overloaded(
                f"{self._owed_bytes:,} bytes wait for Kafka, the limit is {self._high_water_bytes:,.0f}; "
                "nothing was taken, try again"
            )

    async def send_many(self, events: Sequence[Outgoing]) -> list[Stored | NotStored]:
        """Send events in their order and wait until all of them are acknowledged, or the timeout has passed.

        Returns:
            One result for each event, in the same order.

        Raises:
            Overloaded: the buffer is full to 80 %; none of the events was taken.
            Unreachable: Kafka is silent already; none of the events was taken.
        """
        self.check_room(sum(event.cost for event in events))
        answers: list[asyncio.Future[Any]] = []
        why = f"Kafka did not acknowledge it within {self._ack_timeout_s:g} s"
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                for event in events:
                    # After one failure the rest must not overtake it: one visitor's events stay in order.
                    answer = await self.hand_over(event)
                    answers.append(answer)
                if answers:
                    await asyncio.wait(answers)
        except TimeoutError:
            pass  # each event without an answer says so in its own result
        except KafkaError as error:
            why = f"Kafka took it not: {error!r}"
        results = [self._result(answer, why) for answer in answers]
        return results + [NotStored(error=why)] * (len(events) - len(answers))

    async def send_record(
        self, partition: int | None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Stored | NotStored:
        """Send one record into ``partition``, or that of its key, and wait until it is acknowledged.

        Raises:
            Overloaded: the buffer is full to 80 %; it was not taken.
            Unreachable: Kafka is silent already, or the producer is not connected.
        """
        self.check_room(len(value or b""))
        if self._kafka is None:
            raise Unreachable("the producer of events is not connected to Kafka")
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                told = await self._kafka.send_and_wait(
                    self.topic, value=value, key=key, partition=partition, headers=list(headers)
                )
        except TimeoutError:
            return NotStored(error=f"Kafka did not acknowledge it within {self._ack_timeout_s:g} s")
        except KafkaError as error:
            return NotStored(error=f"Kafka refused it: {error!r}")
        return stored(told, self.log_name)

    async def hand_over(self, event: Outgoing) -> asyncio.Future[Any]:
        """Give one event to the client's buffer, waiting while its partition's batch is full.

        Returns:
            What will hold aiokafka's RecordMetadata, or a KafkaError.

        Raises:
            Unreachable: the producer has not been started, or was stopped meanwhile.
            aiokafka.errors.KafkaError: the client could not take it.
        """
        if self._kafka is None:
            raise Unreachable("the producer of events is not connected to Kafka")
        self._owe(event.cost)
        try:
            answer: asyncio.Future[Any] = await self._kafka.send(
                self.topic, value=event.value, key=event.visitor_id.encode()
            )
        except BaseException:
            self._settle(event.cost)
            raise
        answer.add_done_callback(lambda done: self._answered(done, event.cost))
        return answer

    async def wait_for_progress(self) -> None:
        """Wait until at least one more event is settled.

        Raises:
            Unreachable: none is, for as long as an acknowledgement may take.
        """
        self._settled.clear()
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                await self._settled.wait()
        except TimeoutError:
            raise Unreachable(
                f"Kafka at {self._bootstrap} has acknowledged nothing for {self._ack_timeout_s:g} s; see whether the "
                "broker runs, and has a leader for every partition"
            ) from None

    def _owe(self, cost: int) -> None:
        if not self._owed:
            self._silent_since = self._clock()
        self._owed += 1
        self._owed_bytes += cost

    def _settle(self, cost: int) -> None:
        self._owed -= 1
        self._owed_bytes -= cost
        self._settled.set()

    def _answered(self, answer: asyncio.Future[Any], cost: int) -> None:
        self._settle(cost)
        # An error is looked at here too, because whoever waited may have given up by now.
        if not answer.cancelled() and answer.exception() is None:
            self._silent_since = self._clock()

    def _result(self, answer: asyncio.Future[Any], why: str) -> Stored | NotStored:
        if not answer.done():
            return NotStored(error=why)
        error = answer.exception()
        if error is not None:
            return NotStored(error=f"Kafka refused it: {error!r}")
        return stored(answer.result(), self.log_name)


def stored(metadata: Any, log_name: str) -> Stored:
    """The result that aiokafka's RecordMetadata stands for, its position in the log called ``log_name``."""
    return Stored(
        topic=log_name,
        partition=metadata.partition,
        offset=metadata.offset if metadata.offset >= 0 else None,
    )
