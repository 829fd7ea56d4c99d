"""In the worker: passages of the pipeline's calls are counted, and the one that the plan names goes wrong."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, cast, get_args

from cuts import Call, Cut

from actionmap.catalog.models.integration import Integration
from actionmap.consume.kafka import KafkaConsumer
from actionmap.deliver.dispatch import Sender
from actionmap.delivery import Attempt, Delivery
from actionmap.errors import Unreachable
from actionmap.store.redis import RedisStore

_CALLS = frozenset(get_args(Call))


class Faults:
    """Makes passages go wrong, and tells the run about it over ``line`` before it does."""

    def __init__(self, cuts: Sequence[Cut], line: socket.socket) -> None:
        self._cuts = {(cut.call, cut.nth): cut for cut in cuts}
        self._passages: Counter[str] = Counter()
        self._line = line

    async def around(self, call: Call, act: Callable[[], Awaitable[Any]]) -> Any:
        """``act``, unless this passage of ``call`` is one of the cuts."""
        self._passages[call] += 1
        cut = self._cuts.get((call, self._passages[call]))
        if cut is None:
            return await act()
        if cut.when == "before":
            self._die()
        if cut.when == "frozen":
            self.tell("frozen")
            os.kill(os.getpid(), signal.SIGSTOP)
        if cut.when == "during":
            on_its_way = asyncio.ensure_future(act())
            for _ in range(cut.turns):
                await asyncio.sleep(0)
            self._die()
            await on_its_way
        result = await act()
        if cut.when == "after":
            self._die()
        if cut.when == "lost":
            self.tell("lost")
            raise Unreachable("the reply was lost on its way")
        if cut.when == "store":
            self._await_death_of_store()
        return result

    def tell(self, word: str) -> None:
        """Say ``word`` to the run, before anything else can happen."""
        self._line.sendall(f"{word}\n".encode())

    def _die(self) -> NoReturn:
        self.tell("cut")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    def _await_death_of_store(self) -> None:
        """The whole process stands still meanwhile: nothing of it comes between the call and the store's death."""
        self.tell("store")
        self._line.setblocking(True)
        assert self._line.recv(1) == b"."
        self._line.setblocking(False)


class FaultyStore:
    """The store, each of whose calls may go wrong."""

    def __init__(self, store: RedisStore, faults: Faults, *, tells_floor: bool) -> None:
        """``tells_floor``: tell how far its file is on disk, whenever that is known."""
        self._store = store
        self._faults = faults
        self._tells_floor = tells_floor

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        # Two ways to wait until something is durable: before a commit of Kafka's, and before an attempt.
        known = cast(Call, "wait_durable" if name == "durable_offset" else name)
        if known not in _CALLS:
            return real

        async def call(*args: Any, **given: Any) -> Any:
            return await self._faults.around(known, lambda: self._act(known, real, *args, **given))

        return call

    async def _act(self, name: str, real: Callable[..., Awaitable[Any]], *args: Any, **given: Any) -> Any:
        result = await real(*args, **given)
        if self._tells_floor and name == "wait_durable":
            self._faults.tell(f"floor {await file_size(self._store)}")
        return result


async def file_size(store: RedisStore) -> int:
    """Bytes that the store has written to its append-only files."""
    async with store._translated():
        return int((await store._redis.info("persistence"))["aof_current_size"])


class FaultySender:
    """The sender, whose attempts may go wrong."""

    def __init__(self, sender: Sender, faults: Faults) -> None:
        self._sender = sender
        self._faults = faults

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        attempt = await self._faults.around("post", lambda: self._sender.send(delivery, integration))
        assert isinstance(attempt, Attempt)
        return attempt


def cut_consumer(consumer: KafkaConsumer, faults: Faults) -> None:
    """Let fetches and commits of ``consumer`` go wrong, from when it has connected."""
    connect = consumer._connect

    async def connect_then_cut() -> None:
        await connect()
        client = consumer._consumer
        getmany, commit = client.getmany, client.commit
        client.getmany = lambda *tps, **given: faults.around("fetch", lambda: getmany(*tps, **given))
        client.commit = lambda offsets: faults.around("commit", lambda: commit(offsets))

    consumer._connect = connect_then_cut  # type: ignore[method-assign]
