"""API keys that were made over REST: by their hash, so that no key is ever kept."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Struct

from actionmap.store.connection import Connection


class StoredApiKey(Struct, frozen=True, omit_defaults=True):
    """What is known of one key."""

    name: str
    rights: tuple[str, ...]
    #: Whose definitions it may see and change; None for those of all.
    company: str | None = None
    #: When it was made, in milliseconds since 1970, and with which key.
    at: int = 0
    by: str = ""


class ApiKeyStore(Protocol):
    """The keys, by their SHA-256 in hexadecimal."""

    async def all(self) -> dict[str, StoredApiKey]:
        """All keys."""

    async def add(self, hash_: str, key: StoredApiKey) -> bool:
        """Keep ``key``; False, and nothing is kept, where one has its name."""

    async def remove(self, name: str) -> bool:
        """Forget the key called ``name``; whether there was one."""


_decoder = msgspec.json.Decoder(StoredApiKey)


class RedisApiKeys:
    """In Redis or Valkey."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        #: Name → hash, and hash → key: a name is taken by who sets it first.
        self._names, self._keys = f"{prefix}:{{keys}}:n", f"{prefix}:{{keys}}:k"

    async def all(self) -> dict[str, StoredApiKey]:
        async with self._connection.translated():
            found = await self._connection.client.hgetall(self._keys)
            taken = set((await self._connection.client.hgetall(self._names)).values())
        return {hash_.decode(): _decoder.decode(raw) for hash_, raw in found.items() if hash_ in taken}

    async def add(self, hash_: str, key: StoredApiKey) -> bool:
        async with self._connection.translated():
            await self._connection.client.hset(self._keys, hash_, msgspec.json.encode(key))
            # Only from now on it is known: nobody sees a name without its key.
            is_new = bool(await self._connection.client.hsetnx(self._names, key.name, hash_))
            if not is_new:
                await self._connection.client.hdel(self._keys, hash_)
        return is_new

    async def remove(self, name: str) -> bool:
        async with self._connection.translated():
            hash_ = await self._connection.client.hget(self._names, name)
            if hash_ is None:
                return False
            await self._connection.client.hdel(self._names, name)
            await self._connection.client.hdel(self._keys, hash_)
        return True


class MemoryApiKeys:
    """The in-memory twin."""

    def __init__(self) -> None:
        self._kept: dict[str, StoredApiKey] = {}

    async def all(self) -> dict[str, StoredApiKey]:
        return dict(self._kept)

    async def add(self, hash_: str, key: StoredApiKey) -> bool:
        if any(some.name == key.name for some in self._kept.values()):
            return False
        self._kept[hash_] = key
        return True

    async def remove(self, name: str) -> bool:
        found = [hash_ for hash_, some in self._kept.items() if some.name == name]
        for hash_ in found:
            del self._kept[hash_]
        return bool(found)
