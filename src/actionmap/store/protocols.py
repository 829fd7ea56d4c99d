"""What the rest of actionmap asks of a store: four small roles. `redis.py` and `memory.py` play all of them.

A partition's fence, visitors, outbox and dead letters live in one slot and change together, in one script.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from actionmap.delivery import DeadLetter, Delivery


class Fence(Struct, frozen=True):
    """The position of one partition whose effects are in the store, kept with those effects."""

    #: Last applied offset; -1 when nothing was applied yet.
    offset: int = -1
    #: Random token of the last claim or apply; "" when nobody ever claimed the partition.
    token: str = ""
    owner: str = ""
    #: Revision of the rulebook that the last batch was judged by.
    revision: int = 0
    #: Greatest event time applied, in milliseconds since 1970; -1 when none.
    stream_time: int = -1
    #: Cluster id and partition count of the topic that the offset belongs to.
    cluster: str = ""
    partitions: int = 0


class Commit(Struct, frozen=True):
    """Everything that one batch of one partition changes, applied in one step or not at all."""

    #: The token this batch's computation started from.
    expected_token: str
    #: A fresh random token. Sent again unchanged when the outcome of a call is unknown.
    token: str
    #: Offset of the last record of the batch.
    offset: int
    revision: int
    stream_time: int
    #: Visitor id, stored form.
    visitors: Sequence[tuple[str, bytes]] = ()
    deliveries: Sequence[Delivery] = ()
    dead_letters: Sequence[DeadLetter] = ()


class Applied(Struct, frozen=True):
    """What became of a commit."""

    #: ``ok``: it is in the store (``ok`` too when it already was). ``mismatch``: somebody else moved the fence, or the
    #: store lost its tail. ``rules-old``: the fence was judged by a newer rulebook. ``full``: the outbox is at its cap.
    status: Literal["ok", "mismatch", "rules-old", "full"]
    #: With ``mismatch``: who holds the fence now.
    owner: str = ""


class Leased(Struct, frozen=True):
    """Deliveries handed out for one attempt each."""

    deliveries: Sequence[Delivery]
    #: When the next one is due, in milliseconds since 1970; None when the outbox is empty.
    next_due: int | None


class PartitionStore(Protocol):
    """Fence and visitors of each partition."""

    async def fence(self, partition: int) -> Fence:
        """The stored fence, or an empty one."""

    async def claim(self, partition: int, *, owner: str, token: str, cluster: str, partitions: int) -> Fence:
        """Become the partition's owner: from now on only commits that expect ``token`` are applied.

        Returns the fence with its position, as it now stands. The caller checks cluster and partition count with
        `fence` before it claims: a claim takes over what is there.
        """

    async def reset_fence(self, partition: int) -> None:
        """Forget the position (visitors and outbox stay): the topic it belonged to is gone."""

    async def load(self, partition: int, visitor_ids: Sequence[str]) -> list[bytes | None]:
        """The stored visitors, in the order asked for."""

    async def apply(self, partition: int, commit: Commit) -> Applied:
        """Apply ``commit`` if the fence still holds the token it expects. Calling it twice is calling it once."""


class Outbox(Protocol):
    """Deliveries owed and not settled. Times in milliseconds since 1970."""

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        """Hand out up to ``limit`` due deliveries; each comes back by itself after ``lease_ms`` if never settled."""

    async def ack(self, partition: int, delivery_ids: Sequence[str], *, now: int) -> None:
        """These were accepted: remove them, and remember their ids so that a rewind does not owe them again."""

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]]) -> None:
        """These failed: keep each (as given, with its attempts counted) until the time beside it."""

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter]) -> None:
        """These are given up: move them to the dead letters."""

    async def outbox_size(self, partition: int) -> int:
        """How many deliveries are owed."""

    async def owed(self, partition: int, *, limit: int) -> list[Delivery]:
        """Up to ``limit`` owed deliveries, the next due first."""

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        """Up to ``limit`` dead letters, the newest first."""


class DefinitionStore(Protocol):
    """All definitions, as one set with one revision."""

    async def revision(self) -> int:
        """The revision of the stored set; 0 when there is none."""

    async def read(self) -> tuple[int, dict[str, bytes]]:
        """Revision, and each definition's stored form by its key ``Kind/name``, read in one step."""

    async def write(self, expected: int, changed: dict[str, bytes], deleted: Sequence[str]) -> int:
        """Change the set if it is still at revision ``expected``; returns the new revision.

        Raises:
            Conflict: it is not.
        """


class Store(PartitionStore, Outbox, DefinitionStore, Protocol):
    """All roles in one, as the implementations play them."""

    async def ping(self) -> None:
        """Answer.

        Raises:
            Unreachable: the store does not.
        """

    async def durability(self) -> str:
        """What the store promises to keep through a crash, in words for people."""

    async def close(self) -> None:
        """Release connections."""
