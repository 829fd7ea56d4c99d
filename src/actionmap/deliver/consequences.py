"""Attempt → what becomes of its delivery: settled in the outbox, counted, logged, and told to its visitor."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from actionmap.deliver.owned import Owned
from actionmap.deliver.retry import Again, after_failure
from actionmap.delivery import Attempt, DeadLetter, Delivery, Outcome, outcome_of, with_attempt
from actionmap.telemetry import Metrics, logger


class Consequences:
    """Settles attempts.

    Args:
        clock: Milliseconds since 1970.
        random: Numbers in [0, 1), for jitter.
        metrics: Where attempts are counted.
        on_attempt: Called after each attempt, with the delivery as it stands then; its errors are logged.
        listened_to: Names of the outcomes that maps ask for.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        random: Callable[[], float],
        metrics: Metrics,
        on_attempt: Callable[[Delivery, Attempt], None] | None,
        listened_to: Callable[[], Collection[str]],
    ) -> None:
        self._listened_to = listened_to
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._on_attempt = on_attempt
        self._log = logger("deliver")

    def settle(self, owned: Owned, delivery: Delivery, attempt: Attempt) -> None:
        """Count ``attempt`` of ``delivery`` and say what becomes of it: accepted, tried again, or given up."""
        now = self._clock()
        began_at = now - round(1000 * attempt.duration_s)
        if attempt.outcome == "delivered":
            done = with_attempt(delivery, attempt, began_at=began_at)
            owned.settler.accept(done, self._succeeded(delivery, attempt, now))
            self._metrics.event_to_delivery.observe(max(now - delivery.owed_at, 0) / 1000)
        else:
            counted = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
            what = after_failure(counted, attempt, now=now, chance=self._random())
            if isinstance(what, Again):
                attempt = msgspec.structs.replace(attempt, outcome="retry")
                done = with_attempt(delivery, attempt, began_at=began_at, next_try_at=what.at)
                # Its first answer, or none in time, is all that others wait for.
                owned.settler.keep(msgspec.structs.replace(done, is_sync=False), what.at)
            else:
                attempt = msgspec.structs.replace(attempt, outcome="dead")
                done = with_attempt(delivery, attempt, began_at=began_at)
                self.bury(owned, done, what.reason, attempt.error or "", attempt.status)
        self._tell(done, attempt)

    def _succeeded(self, delivery: Delivery, attempt: Attempt, now: int) -> Outcome | None:
        if not delivery.capture.reads_answer and "webhook_succeeded" not in self._listened_to():
            return None
        return outcome_of(delivery, "webhook_succeeded", now, attempt.status, attempt.variables, attempt.traits)

    def bury(self, owned: Owned, delivery: Delivery, reason: str, detail: str, status: int | None = None) -> None:
        """Give ``delivery`` up, for ``reason`` (a fixed word) and ``detail`` (words for people).

        ``status``: of the answer to the last attempt.
        """
        now = self._clock()
        letter = dead_letter_of(delivery, reason, detail, now)
        told = delivery.capture.on_failure or "webhook_failed" in self._listened_to()
        owned.settler.bury(letter, outcome_of(delivery, "webhook_failed", now, status) if told else None)
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
