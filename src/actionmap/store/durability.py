"""What a store promises to keep through a crash, and the wait until it has it on disk.

With ``appendfsync always`` each answer means that the write is on disk. With ``everysec`` Redis and Valkey may answer
up to two seconds before they even hand the write to the system, so WAITAOF is asked before anything follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from msgspec import Struct

#: The oldest server that has WAITAOF and scripts that are refused up front when memory is full.
_OLDEST = {"redis": (7, 2), "valkey": (7, 2)}


class Guarantees(Struct, frozen=True):
    """How a store keeps what it has acknowledged."""

    #: ``always``: each answer is durable. ``everysec``: waited for. ``none``: nothing can be waited for.
    profile: Literal["always", "everysec", "none"]
    #: Promises that cannot be kept with this store, each with the reason and what to do; empty when all can.
    missing: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For people."""
        how = {
            "always": "always: a webhook is sent only after its entry is on the store's disk, which each answer means",
            "everysec": "everysec: a webhook is sent only after its entry is on the store's disk, which is waited for",
            "none": "none: the store keeps nothing through a crash that could be relied on",
        }[self.profile]
        return "; ".join((how, *self.missing))


def worst(by_node: Mapping[str, Guarantees]) -> Guarantees:
    """What nodes keep together: no more than the one that keeps least, named in what is missing."""
    ranks = ("none", "everysec", "always")
    least = min((found.profile for found in by_node.values()), key=ranks.index)
    missing = [f"{node}: {text}" if node else text for node, found in by_node.items() for text in found.missing]
    return Guarantees(least, tuple(missing))


def guarantees_of(config: Mapping[str, str] | None, info: Mapping[str, Any], *, waits: Waits) -> Guarantees:
    """What follows from a server's configuration.

    Args:
        config: Answer to CONFIG GET; None where the server does not show it.
        info: Answer to INFO.
        waits: Whether WAITAOF answered that a write was on disk, was late, answers too early, or cannot be asked.
    """
    missing = [*_old(info)]
    if config is None:
        missing.append("the server does not show its configuration, so noeviction cannot be checked; allow CONFIG GET")
        if waits == "no":
            missing.append("WAITAOF does not confirm that writes are on disk; use appendonly yes")
        return Guarantees("none" if waits == "no" else "everysec", tuple(missing))
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        missing.append(f"maxmemory-policy is {policy}, so visitors and deliveries may be evicted; use noeviction")
    if str(info.get("aof_last_write_status", "ok")) != "ok":
        missing.append("the last write of the append-only file failed; see the server's log and its disk")
    if config.get("appendonly") != "yes":
        missing.append("appendonly is off, so a crash loses what came after the last snapshot; use appendonly yes")
        return Guarantees("none", tuple(missing))
    # With no-appendfsync-on-rewrite, "always" is not always: then it is waited for, as with everysec.
    if config.get("appendfsync") == "always" and config.get("no-appendfsync-on-rewrite") != "yes":
        return Guarantees("always", tuple(missing))
    if config.get("appendfsync") == "no" or waits == "no":
        missing.append(f"appendfsync is {config.get('appendfsync')} and cannot be waited for; use always or everysec")
        return Guarantees("none", tuple(missing))
    if waits == "late":
        missing.append("writes are not on the store's disk within 2 s, and webhooks wait for it; see its disk")
    if waits == "early":
        missing.append(
            "WAITAOF of this server answers before a write is on its disk, so a power failure may take the last second "
            "or two although their webhooks were sent; use appendfsync always"
        )
    return Guarantees("everysec", tuple(missing))


def _old(info: Mapping[str, Any]) -> list[str]:
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST[name]:
        return []
    return [f"the server is {name} {version}; use Redis 7.2 or Valkey 8 or newer"]


#: Whether WAITAOF says that a write is on disk.
Waits = Literal["yes", "late", "early", "no"]
#: A command that reads what is meant to be durable, such as ``("HGET", key, "o")``.
Question = tuple[Any, ...]


class SharedWait:
    """One wait for all who ask while the one before it is on its way.

    Who asks during a wait joins the next one: the wait on its way may have begun before their write.
    """

    def __init__(self, wait: Callable[[list[Any]], Awaitable[list[Any]]]) -> None:
        """``wait``: reads the answers to some questions from the server, and returns them when they are on its disk."""
        self._wait = wait
        self._questions: list[Any] = []
        self._running: asyncio.Task[list[Any]] | None = None
        self._next: asyncio.Task[list[Any]] | None = None

    async def __call__(self, question: Any) -> Any:
        """The answer to ``question``, read after this call, once it is durable."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        self._questions.append(question)
        place, task = len(self._questions) - 1, self._next
        return (await asyncio.shield(task))[place]

    async def _after(self, former: asyncio.Task[list[Any]] | None) -> list[Any]:
        if former is not None:
            await asyncio.wait([former])
        self._running, self._next = self._next, None
        questions, self._questions = self._questions, []
        return await self._wait(questions)
