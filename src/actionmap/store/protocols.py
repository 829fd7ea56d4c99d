"""What the rest of actionmap asks of a store: small roles. `redis.py` and `memory.py` play all of them.

A partition's fence, visitors, outbox and dead letters live in one slot and change together, in one script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol

from msgspec import Struct

from actionmap.delivery import DeadLetter, Delivery, Outcomes
from actionmap.store.api_keys import ApiKeyStore
from actionmap.store.definitions import DefinitionStore
from actionmap.store.durability import Guarantees
from actionmap.store.erasure import ErasureStore
from actionmap.store.integrations import IntegrationStore
from actionmap.store.journal import JournalStore
from actionmap.store.lookups import LookupStore

#: When a delivery is due that waits for another one of its visitor: once that one says so.
NOT_YET = 9_000_000_000_000_000
#: What a person may tell a halted partition to do. ``continue``: go on with the state that is there, leaving out what
#: cannot be had. ``rebuild``: forget its visitors and evaluate the log again from its beginning.
Resume = Literal["continue", "rebuild"]


#: Nobody is to hear of anything.
NO_OUTCOMES: Outcomes = MappingProxyType({})


class Halt(Struct, frozen=True):
    """Why a partition stopped, kept beside its fence for people."""

    #: A fixed word, e.g. ``truncated``; see `consume.positions.HaltReason`.
    reason: str
    #: In words for people.
    detail: str
    #: Milliseconds since 1970.
    at: int


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
    #: Hash of the last applied record (`consume.parse.fingerprint`); "" when there is none.
    fingerprint: str = ""
    #: Wall clock when ``stream_time`` was reached, in milliseconds since 1970; -1 when it is unknown.
    stream_time_at: int = -1
    #: Why the partition stopped, while it does.
    halted: Halt | None = None
    #: What a person told it to do, until it does.
    resume: Resume | None = None
    #: Its visitors are being forgotten, or were when the process that did so died.
    rebuilding: bool = False
    #: How often a visitor of the partition was erased: each erasure has its number, counted from 1. It never goes back.
    erasures: int = 0


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
    stream_time_at: int = -1
    fingerprint: str = ""
    #: Visitor id, stored form.
    visitors: Sequence[tuple[str, bytes]] = ()
    #: Visitor id, and when its next timer is due in milliseconds since 1970 (stream time); None when it has none left.
    timers: Sequence[tuple[str, int | None]] = ()
    deliveries: Sequence[Delivery] = ()
    dead_letters: Sequence[DeadLetter] = ()
    #: What dead letters among these tell their visitors, by delivery id.
    outcomes: Outcomes = {}
    #: So many of the outcomes that wait have their effects in this commit.
    outcomes_taken: int = 0
    #: The last of these as it was read: where another one stands in its place, nothing is applied (``mismatch``).
    last_outcome: bytes = b""
    #: Visitors that are erased, none of them among ``visitors``; and how often that was done with these.
    erased: Sequence[str] = ()
    erasures: int = 0


class Applied(Struct, frozen=True):
    """What became of a commit."""

    #: ``ok``: it is in the store (``ok`` too when it already was). ``mismatch``: somebody else moved the fence, or the
    #: store lost its tail. ``rules-old``: the fence was judged by a newer rulebook. ``full``: the outbox is at its cap.
    status: Literal["ok", "mismatch", "rules-old", "full"]
    #: With ``mismatch``: who holds the fence now.
    owner: str = ""
    #: With ``ok``: when the partition's next timer is due; None without one.
    next_due: int | None = None
    #: With ``ok``: how many outcomes of deliveries wait for this partition.
    outcomes: int = 0
    #: With ``ok``: ordered deliveries given up at once (``line-full``), because too many wait for their integration.
    given_up: int = 0


class Due(Struct, frozen=True):
    """Timers that are due."""

    #: Visitor id, and when its next timer is due; in order of due.
    visitors: Sequence[tuple[str, int]]
    #: When the next one after these is due; None without one.
    next_due: int | None


class Leased(Struct, frozen=True):
    """Deliveries handed out for one attempt each."""

    deliveries: Sequence[Delivery]
    #: When the next one is due, in milliseconds since 1970; None when the outbox is empty.
    next_due: int | None
    #: How many deliveries the partition owes to each integration that it owes any.
    owed: Mapping[str, int] = {}


class Parked(Struct, frozen=True):
    """Which part of a partition's log of parked deliveries is still to be taken back, and how many wait where."""

    #: Offset to read on from; -1 when nothing was ever parked.
    position: int = -1
    #: Offset after the last one parked. Nothing is parked when it is not greater than ``position``.
    end: int = -1
    #: Parked deliveries, by integration.
    parked: Mapping[str, int] = {}
    #: Deliveries owed in the outbox, by integration.
    owed: Mapping[str, int] = {}
    #: How often visitors of the partition were erased; see `Fence`.
    erasures: int = 0


class PartitionStore(Protocol):
    """Fence and visitors of each partition."""

    @property
    def erasures(self) -> ErasureStore:
        """What erased visitors have left."""

    async def fence(self, partition: int) -> Fence:
        """The stored fence, or an empty one."""

    async def fences(self, partitions: int) -> list[Fence]:
        """The fences of the first ``partitions`` partitions, in one round trip."""

    async def claim(
        self,
        partition: int,
        *,
        owner: str,
        token: str,
        cluster: str,
        partitions: int,
        moved_to: int | None = None,
    ) -> Fence:
        """Become the partition's owner: from now on only commits that expect ``token`` are applied.

        Returns the fence with its position, as it now stands; it is not halted any more. The caller checks cluster and
        partition count with `fence` before it claims: a claim takes over what is there.

        Args:
            partition: The partition.
            owner: Who claims, for people.
            token: A fresh random token.
            cluster: Cluster id of the log that the position belongs to from now on.
            partitions: Partition count of its topic.
            moved_to: Move the position to this offset (-1: before the first record), and forget the fingerprint.
                Stream time stays: it never goes back, and what waits is due by it.
        """

    async def halt(self, partition: int, halt: Halt) -> None:
        """Note beside the fence why the partition stopped, until it is claimed again."""

    async def resume(self, partition: int, policy: Resume) -> bool:
        """Tell a halted partition what to do; whoever is assigned it does so. False when it is not halted."""

    async def forget(self, partition: int) -> None:
        """Forget position, visitors and timers; outbox, accepted ids and dead letters stay.

        Until it is done the fence says ``rebuilding``. No commit based on the former position is taken any more.
        """

    async def due(self, partition: int, token: str, *, until: int, limit: int) -> Due:
        """Visitors with a timer due at or before ``until`` (stream time), at most ``limit`` of them.

        Raises:
            FenceMoved: the fence holds another token than ``token``.
        """

    async def load(self, partition: int, visitor_ids: Sequence[str], token: str | None = None) -> list[bytes | None]:
        """The stored visitors, in the order asked for.

        Who is going to commit gives its ``token``: what somebody else has written since might be forgotten by a store
        that loses its tail, and then the commit would pass although it was based on it.

        Raises:
            FenceMoved: the fence holds another token than ``token``.
        """

    async def outcomes(self, partition: int, token: str, *, limit: int) -> list[bytes]:
        """What deliveries ended with and their visitors do not know yet: the oldest ``limit``, each in its stored form.

        Raises:
            FenceMoved: the fence holds another token than ``token``.
        """

    async def apply(self, partition: int, commit: Commit) -> Applied:
        """Apply ``commit`` if the fence still holds the token it expects. Calling it twice is calling it once."""

    async def durable_offset(self, partition: int) -> int:
        """The fence's offset, once it would survive a crash of the store; -1 without one.

        At once where each answer already means that (``appendfsync always``), and where nothing can (no AOF).

        Raises:
            Unreachable: the store does not say so in time.
        """


class Outbox(Protocol):
    """Deliveries owed and not settled. Times in milliseconds since 1970."""

    async def lease(self, partition: int, *, now: int, limit: int, lease_ms: int) -> Leased:
        """Hand out up to ``limit`` due deliveries; each comes back by itself after ``lease_ms`` if never settled."""

    async def wait_durable(self, partition: int, delivery_ids: Sequence[str]) -> frozenset[str]:
        """Those of the deliveries that are owed, once that would survive a crash of the store; see `durable_offset`.

        What was leased and is not among them was lost by a store that has started anew since.

        Raises:
            Unreachable: the store does not say so in time.
        """

    async def ack(
        self, partition: int, deliveries: Sequence[Delivery], *, now: int, outcomes: Outcomes = NO_OUTCOMES
    ) -> int:
        """These were accepted: remove them, and remember their ids so that a rewind does not owe them again.

        Those that were owed are kept in the journal, as given, without what they do not log.

        Args:
            partition: The partition.
            deliveries: The deliveries.
            now: Wall clock.
            outcomes: By delivery id, what their visitors are to hear; queued once, where the delivery was owed.

        Returns:
            How many outcomes were queued.
        """

    async def nack(self, partition: int, retries: Sequence[tuple[Delivery, int]], *, now: int) -> None:
        """These failed: keep each (as given, with its attempts counted) until the time beside it.

        One that is given as not sync any more does not hold up its visitor's later deliveries any more.
        """

    async def bury(self, partition: int, dead_letters: Sequence[DeadLetter], outcomes: Outcomes = NO_OUTCOMES) -> int:
        """These deliveries are given up: move them to the dead letters; ``outcomes`` and result as of `ack`."""

    async def revive(self, partition: int, deliveries: Sequence[Delivery], *, now: int) -> int:
        """Owe dead deliveries again, in the form given; those that are not among the dead letters are left out.

        Each is due at its ``owed_at``, and not before ``now``. Returns how many are owed again.
        """

    async def forget_dead(self, partition: int, ids: Sequence[str]) -> int:
        """Remove dead letters of records; returns how many there were."""

    async def dead_letter(self, partition: int, id_: str) -> DeadLetter | None:
        """The dead letter with that id."""

    async def owed_by_integration(self, partition: int) -> dict[str, int]:
        """How many deliveries are owed to each integration that is owed any."""

    async def outbox_size(self, partition: int) -> int:
        """How many deliveries are owed."""

    async def owed(self, partition: int, *, limit: int, due_from: int = 0) -> list[Delivery]:
        """Up to ``limit`` owed deliveries that are due at ``due_from`` or later, the next due first."""

    async def due_times(self, partition: int, ids: Sequence[str]) -> list[int | None]:
        """When each of the deliveries is due; None of one that is not owed."""

    async def delivery(self, partition: int, id_: str) -> Delivery | None:
        """The owed delivery with that id."""

    async def dead_letters(self, partition: int, *, limit: int) -> list[DeadLetter]:
        """Up to ``limit`` dead letters, the newest first."""

    async def dead_deliveries(self, partition: int, *, start: int, limit: int) -> list[DeadLetter]:
        """Up to ``limit`` dead letters of deliveries, the oldest first, after the oldest ``start``."""


class ParkingStore(Protocol):
    """What of a partition's outbox lies in the log of parked deliveries. See `deliver.parking`."""

    @property
    def erasures(self) -> ErasureStore:
        """Whose parked deliveries are dropped."""

    async def park(self, partition: int, deliveries: Sequence[tuple[Delivery, int]]) -> int:
        """These are in the log at the offsets beside them: take them out of the outbox; returns how many were.

        One whose offset was passed over stays, because then it was still owed here: it is in one of the two places.
        """

    async def parked(self, partition: int) -> Parked:
        """What is parked now."""

    async def unpark(
        self,
        partition: int,
        *,
        position: int,
        to: int,
        end: int = -1,
        is_new_log: bool = False,
        owe: Sequence[Delivery] = (),
        bury: Sequence[DeadLetter] = (),
        drop: Sequence[Delivery] = (),
        outcomes: Outcomes = NO_OUTCOMES,
        erasures: int = 0,
    ) -> bool:
        """Owe what the log holds from ``position`` to ``to`` again.

        False, and nothing changes, if the position has moved meanwhile, or a visitor was erased.

        Args:
            partition: The partition.
            position: Where it was read from.
            to: Where it is read on from.
            end: What lies before it is parked, too.
            is_new_log: The log ends at ``end``, whatever was known of it.
            owe: Deliveries, in the form parked. Those that are owed, settled or dead stay what they are.
            bury: Those that are given up instead.
            drop: Those of erased visitors.
            outcomes: By delivery id, what their visitors are to hear of that.
            erasures: How often visitors had been erased when these were sorted.
        """


class Store(PartitionStore, Outbox, ParkingStore, Protocol):
    """All roles in one, as the implementations play them."""

    @property
    def definitions(self) -> DefinitionStore:
        """All definitions, their versions, and who changed them or did what else."""

    @property
    def api_keys(self) -> ApiKeyStore:
        """API keys that were made over REST."""

    @property
    def integrations(self) -> IntegrationStore:
        """How the integrations are doing."""

    @property
    def journal(self) -> JournalStore:
        """The newest deliveries that were accepted."""

    @property
    def lookups(self) -> LookupStore:
        """How often lookups had no value."""

    async def ping(self) -> None:
        """Answer.

        Raises:
            Unreachable: the store does not.
        """

    async def guarantees(self) -> Guarantees:
        """What the store promises to keep through a crash, asked of it anew."""

    async def close(self) -> None:
        """Release connections."""
