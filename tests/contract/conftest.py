"""The store that every contract is asked of: the in-memory one, and a real one."""

from collections.abc import AsyncIterator

import pytest

from actionmap.store.memory import MemoryStore
from actionmap.store.protocols import Store
from actionmap.store.redis import RedisStore


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: str, unique: str) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else RedisStore(valkey, prefix=unique, clock=lambda: 7)
    yield made
    await made.close()
