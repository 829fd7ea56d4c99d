"""What the consumer asks of a partition's lane."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from actionmap.consume.parse import Record
from actionmap.consume.positions import Log


class PartitionLane(Protocol):
    """What the consumer asks of a partition's lane; see `pipeline.Lane`."""

    @property
    def wants_records(self) -> bool:
        """False while enough records wait."""

    @property
    def position(self) -> int | None:
        """The offset to commit, once claimed."""

    def offer(self, records: list[Record]) -> None:
        """Queue records."""

    def log_ended(self, end: int, at: float) -> None:
        """The log ended at offset ``end`` when the monotonic clock showed ``at``."""

    def rewind(self) -> None:
        """Go on from the fence."""

    async def run(self) -> None:
        """Evaluate until closed or halted."""

    async def close(self) -> None:
        """Stop after the batch in hand."""


#: Makes the lane of a partition from a way to look its log up and a way to seek.
OpenLane = Callable[[int, Callable[[], Awaitable[Log]], Callable[[int], None]], PartitionLane]
