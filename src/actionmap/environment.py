"""What all lanes of a worker share: the store, the rulebook in use, clocks, and who is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.positions import OnGap
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.event import Event
from actionmap.store.cache import VisitorCache
from actionmap.store.protocols import PartitionStore
from actionmap.telemetry import Metrics


class LaneEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What all lanes of a worker share."""

    store: PartitionStore
    #: The rulebook in use, asked at the edge of each batch.
    rulebook: Callable[[], Rulebook]
    #: Look for a newer rulebook now.
    refresh_rulebook: Callable[[], Awaitable[object]]
    policy: Policy
    #: Name of this worker in the fence.
    owner: str
    #: A fresh random token.
    new_token: Callable[[], str]
    #: A number in [0, 1), to spread retries.
    random: Callable[[], float]
    #: Seconds of a clock that nobody sets, and milliseconds since 1970: how stream time goes on without records.
    monotonic: Callable[[], float]
    wall_clock: Callable[[], int]
    metrics: Metrics
    on_gap: OnGap = "halt"
    cache: VisitorCache
    #: Called for each decision that is in the store; for a timer with the event that its wait began with.
    on_decision: Callable[[Event, Decision], None] | None = None
    #: Called when deliveries of a partition are in the outbox.
    on_owed: Callable[[int], None] = lambda _: None
    #: Seconds without records after which a lane looks whether the fence is still where it left it.
    idle_check_s: float = 1.0
