"""Attempt → what becomes of its delivery: settled in the outbox, counted, logged and told."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from actionmap.deliver.owned import Owned
from actionmap.deliver.retry import Again, after_failure
from actionmap.delivery import Attempt, DeadLetter, Delivery
from actionmap.telemetry import Metrics, logger


class Outcomes:
    """Settles attempts.

    Args:
        clock: Milliseconds since 1970.
        random: Numbers in [0, 1), for jitter.
        metrics: Where attempts are counted.
        on_attempt: Called after each attempt, with the delivery as it stands then; its errors are logged.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        random: Callable[[], float],
        metrics: Metrics,
        on_attempt: Callable[[Delivery, Attempt], None] | None,
    ) -> None:
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._on_attempt = on_attempt
        self._log = logger("deliver")

    def settle(self, owned: Owned, delivery: Delivery, attempt: Attempt) -> None:
        """Count ``attempt`` of ``delivery`` and say what becomes of it: accepted, tried again, or given up."""
        now = self._clock()
        counted = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1, last_error=attempt.error)
        if attempt.outcome == "delivered":
            owned.settler.accept(delivery)
            self._metrics.event_to_delivery.observe(max(now - delivery.owed_at, 0) / 1000)
        else:
            what = after_failure(counted, attempt, now=now, chance=self._random())
            if isinstance(what, Again):
                owned.settler.keep(counted, what.at)
                attempt = msgspec.structs.replace(attempt, outcome="retry")
            else:
                self.bury(owned, counted, what.reason, attempt.error or "")
                attempt = msgspec.structs.replace(attempt, outcome="dead")
        self._tell(counted, attempt)

    def bury(self, owned: Owned, delivery: Delivery, reason: str, detail: str) -> None:
        """Give ``delivery`` up, for ``reason`` (a fixed word) and ``detail`` (words for people)."""
        letter = dead_letter_of(delivery, reason, detail, self._clock())
        owned.settler.bury(letter)
        tell_dead(letter, self._metrics)

    def _tell(self, delivery: Delivery, attempt: Attempt) -> None:
        self._metrics.attempts.labels(delivery.integration, attempt.outcome).inc()
        self._metrics.attempt_seconds.observe(attempt.duration_s)
        # The visitor is left out: logs are kept longer, and by more people, than visitors agreed to.
        say = self._log.info if attempt.outcome == "delivered" else self._log.warning
        say(
            "delivery.attempted",
            id=delivery.id,
            action_map=delivery.action_map,
            webhook=delivery.webhook,
            integration=delivery.integration,
            attempt=delivery.attempts,
            outcome=attempt.outcome,
            status=attempt.status,
            error=attempt.error,
            duration_s=round(attempt.duration_s, 4),
        )
        if self._on_attempt is not None:
            try:
                self._on_attempt(delivery, attempt)
            except Exception:
                self._log.exception("delivery.on_attempt", id=delivery.id)


def dead_letter_of(delivery: Delivery, reason: str, detail: str, at: int) -> DeadLetter:
    """``delivery``, given up at ``at`` (milliseconds since 1970) for ``reason`` and ``detail``."""
    buried = msgspec.structs.replace(delivery, last_error=detail)
    return DeadLetter(id=delivery.id, kind="delivery", reason=reason, detail=detail, at=at, delivery=buried)


def tell_dead(letter: DeadLetter, metrics: Metrics) -> None:
    """Count and log that the delivery of ``letter`` is given up."""
    metrics.dead_letters.labels(letter.kind, letter.reason).inc()
    name = letter.delivery.integration if letter.delivery else ""
    logger("deliver").error("delivery.dead", id=letter.id, integration=name, reason=letter.reason, detail=letter.detail)
