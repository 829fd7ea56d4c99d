"""Logs and metrics: their set-up, and the catalogue of metric names."""

from __future__ import annotations

import logging
import sys
from collections import Counter as Counts
from collections import defaultdict
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Logger = structlog.stdlib.BoundLogger


class _Unbreakable:
    """A stream that is written to as long as it can be: nothing stops because nobody reads the log any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(level: str, log_format: Literal["auto", "text", "json"]) -> None:
    """Write one line per unit of work to standard error: text on a terminal, JSON otherwise."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # Line and line end in one write: the lines of several workers must not run into each other.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Unbreakable(sys.stderr))),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # Both write full URLs, which may carry a key, at INFO and DEBUG.
    for name in ("httpx", "httpcore", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Three lines per retry while a broker is away; what matters of it is told by us, once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def logger(part: str) -> Logger:
    """The logger of one part of actionmap."""
    return structlog.get_logger(part=part)  # type: ignore[no-any-return]


class LookupCounts:
    """How often and for which visitors maps made their lookups, and these had no value (`mappings.counted_as`)."""

    def __init__(self) -> None:
        self.times = Counts[str]()
        self.visitors = defaultdict[str, set[str]](set)

    def note(self, name: str, visitor_id: str) -> None:
        """Count one more, for that visitor."""
        self.times[name] += 1
        self.visitors[name].add(visitor_id)

    def update(self, other: LookupCounts) -> None:
        """Add what ``other`` has counted."""
        self.times.update(other.times)
        for name, visitors in other.visitors.items():
            self.visitors[name] |= visitors


class Metrics:
    """Every metric there is, in one registry. Labels are bounded: a map, a reason, an outcome; never a visitor."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        new: Any = {"registry": self.registry}
        # Counters
        self.events = Counter("actionmap_events", "Events evaluated, by outcome", ["outcome"], **new)
        self.timers = Counter("actionmap_timers", "Waits that were over", **new)
        self.verdicts = Counter("actionmap_verdicts", "Verdicts, by map and reason", ["action_map", "reason"], **new)
        self.missing_lookups = Counter("actionmap_missing_lookups", "Lookups without a value", ["mapping"], **new)
        self.unknown_fields = Counter("actionmap_unknown_event_fields", "Unknown top-level keys of events", **new)
        self.clamped_times = Counter("actionmap_clamped_event_times", "Event times too far in the future", **new)
        self.dead_letters = Counter(
            "actionmap_dead_letters", "Dead letters, by kind and reason", ["kind", "reason"], **new
        )
        self.commits = Counter("actionmap_commits", "Partition batches, by what became of them", ["status"], **new)
        self.attempts = Counter(
            "actionmap_delivery_attempts", "Attempts, by outcome", ["integration", "outcome"], **new
        )
        self.collected = Counter("actionmap_collected_events", "Events at the collector, by result", ["result"], **new)
        self.parked_lost = Counter(
            "actionmap_parked_deliveries_lost", "Parked deliveries that the log no longer held, at most", **new
        )
        self.misplaced = Counter(
            "actionmap_misplaced_records", "Records looked at, one a fetch, that another partitioner has placed", **new
        )
        self.held = Counter(
            "actionmap_deliveries_held", "Deliveries put off because their integration is held", ["integration"], **new
        )
        self.golive_lost = Counter("actionmap_golive_lost", "Times that an active map stopped being ready", **new)
        #: What the store has not been told yet.
        self.lookups = LookupCounts()
        # Histograms and gauges, in seconds
        self.attempt_seconds = Histogram("actionmap_delivery_attempt_seconds", "Duration of an attempt", **new)
        self.event_to_delivery = Histogram(
            "actionmap_event_to_delivery_seconds", "From the record in Kafka to the webhook accepted", **new
        )
        self.lag = Gauge("actionmap_partition_lag", "Records not yet evaluated", ["partition"], **new)
        self.outbox = Gauge("actionmap_outbox_deliveries", "Deliveries owed", ["partition"], **new)
        self.outbox_of_integration = Gauge(
            "actionmap_outbox_integration_deliveries", "Deliveries owed, not parked", ["integration"], **new
        )
        self.parked = Gauge("actionmap_parked_deliveries", "Deliveries parked", ["integration"], **new)
        self.queued = Gauge("actionmap_queued_records", "Records that wait to be evaluated", ["partition"], **new)
        self.queued_bytes = Gauge("actionmap_queued_bytes", "Bytes of these records", ["partition"], **new)
        self.fetched = Gauge(
            "actionmap_fetched_partitions", "Partitions whose fetched records wait in the client, 1 MiB at most", **new
        )
        self.cached = Gauge("actionmap_cached_visitors", "Visitors in memory", **new)
        self.cached_bytes = Gauge("actionmap_cached_bytes", "Bytes of these visitors, as stored", **new)
        self.in_flight = Gauge("actionmap_deliveries_in_flight", "Requests in flight", **new)
        self.breaker_open = Gauge(
            "actionmap_breaker_open", "1 while nothing but probes goes to the integration", ["integration"], **new
        )
        self.rulebook_revision = Gauge("actionmap_rulebook_revision", "Revision of the rulebook in use", **new)
        self.halted = Gauge("actionmap_partitions_halted", "Partitions that stopped and need a person", **new)
        self.golive_ready = Gauge("actionmap_golive_ready", "Active maps that pass the go-live check", **new)
        self.golive_not_ready = Gauge(
            "actionmap_golive_not_ready", "1 for active maps that do not, a hundred at most", ["action_map"], **new
        )
        self.golive_ready.set(float("nan"))  # where nobody looks, none is not ready
