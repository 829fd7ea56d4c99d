"""What leads out of a process: makes attempts, and probes."""

from __future__ import annotations

from typing import Protocol

from actionmap.deliver.dispatch import Sender
from actionmap.deliver.probe import Prober


class Outward(Sender, Prober, Protocol):
    """Sends deliveries, and probes integrations."""
