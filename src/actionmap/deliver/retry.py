"""What an answer means, and what becomes of a delivery whose attempt failed: pure, time and chance are arguments.

================================  =========================================================================
answer                            verdict
================================  =========================================================================
a status in ``successStatuses``   delivered
none (DNS, TCP, TLS, time is up)  retry, up to ``retry.attempts`` tries in all
408, 425, 429, any 5xx            retry, as above
3xx                               dead (``refused``) at once: redirects are never followed
410                               dead (``refused``) at once: the receiver says that it is gone for good
any other (401, 404, 422, a 2xx   retry, but dead (``refused``) once 3 tries were made: a person may be about to
that is not listed, …)            fix it, and the rest of the schedule would not help
blocked target, request that      dead (``refused``) at once
cannot be built
================================  =========================================================================

The wait after the n-th failed try: the author's list (its last entry repeats), up to 10 % later; or, exponential,
5 s · 4^(n-1), at most 1 h, ± 20 %: 5 s, 20 s, 80 s, 5 min 20 s, 21 min 20 s, 1 h, 1 h, …, so that the default of
8 tries lasts about two and a half hours. ``Retry-After`` only ever delays: up to 10 h, and up to 10 % later.
A delivery whose next try would come after ``retry.maxAge`` is dead (``too-old``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct

from actionmap.delivery import Attempt, Delivery, RetryPolicy
from actionmap.event import to_millis

FIRST_WAIT_S = 5.0
WAIT_FACTOR = 4.0
LONGEST_WAIT_S = 3600.0
#: Share by which an exponential wait is made shorter or longer by chance.
JITTER = 0.2
#: Share by which a wait that somebody asked for is made longer by chance: never shorter.
DELAY_JITTER = 0.1
LONGEST_RETRY_AFTER_S = 10 * 3600.0
#: Tries in all for answers that repeating is unlikely to change.
FEW_ATTEMPTS = 3

Meaning = Literal["delivered", "retry", "few", "refused"]
DeadReason = Literal["attempts-exhausted", "too-old", "refused"]

_WORTH_REPEATING = frozenset({408, 425, 429})
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)


class Again(Struct, frozen=True):
    """The delivery is tried again."""

    #: Not before, in milliseconds since 1970.
    at: int


class Dead(Struct, frozen=True):
    """The delivery is given up."""

    reason: DeadReason


def meaning(status: int, success_statuses: Sequence[str]) -> Meaning:
    """What the HTTP ``status`` of an answer means; ``success_statuses`` are such as ``2xx`` or ``200``."""
    if str(status) in success_statuses or f"{status // 100}xx" in success_statuses:
        return "delivered"
    if status in _WORTH_REPEATING or 500 <= status <= 599:
        return "retry"
    if status == 410 or 300 <= status <= 399:
        return "refused"
    return "few"


def has_failed(attempt: Attempt) -> bool | None:
    """Whether the receiver failed in ``attempt``; None when that does not tell.

    One that answers is well, whatever it says of the request (401, 404, …); 425 and 429 only ask for patience.
    """
    if attempt.outcome == "delivered":
        return False
    if attempt.is_ours or (attempt.status is None and attempt.outcome == "dead") or attempt.status in (425, 429):
        return None
    return attempt.status is None or attempt.status == 408 or attempt.status >= 500


def after_failure(delivery: Delivery, attempt: Attempt, *, now: int, chance: float) -> Again | Dead:
    """What becomes of ``delivery`` after ``attempt`` failed.

    Args:
        delivery: With this attempt counted in ``attempts``.
        attempt: Its outcome is ``retry`` or ``dead``.
        now: Milliseconds since 1970.
        chance: A random number in [0, 1).
    """
    if attempt.outcome == "dead":
        return Dead("refused")
    if attempt.status is not None:
        what = meaning(attempt.status, delivery.success_statuses)
        if what == "refused" or (what == "few" and delivery.attempts >= FEW_ATTEMPTS):
            return Dead("refused")
    if delivery.attempts >= delivery.retry.attempts:
        return Dead("attempts-exhausted")
    at = now + round(1000 * _wait_s(delivery.retry, delivery.attempts, attempt.retry_after_s, chance))
    return Dead("too-old") if is_too_old(delivery, at) else Again(at)


def is_too_old(delivery: Delivery, at: int) -> bool:
    """Whether ``delivery`` is past its ``maxAge`` at ``at`` (milliseconds since 1970)."""
    return at - delivery.owed_at > delivery.retry.max_age_s * 1000


def _wait_s(policy: RetryPolicy, failed: int, retry_after_s: float | None, chance: float) -> float:
    """Seconds to wait after ``failed`` (at least 1) failed attempts."""
    tries = max(failed, 1)
    if policy.schedule:
        wait = policy.schedule[min(tries, len(policy.schedule)) - 1] * (1 + DELAY_JITTER * chance)
    else:
        # 4^10 is far beyond the longest wait: no need to raise a float to the thousandth power.
        wait = min(FIRST_WAIT_S * WAIT_FACTOR ** min(tries - 1, 10), LONGEST_WAIT_S) * (
            1 - JITTER + 2 * JITTER * chance
        )
    if retry_after_s is None or not retry_after_s > 0:
        return wait
    return max(wait, min(retry_after_s, LONGEST_RETRY_AFTER_S) * (1 + DELAY_JITTER * chance))


def parse_retry_after(text: str | None, *, now: int) -> float | None:
    """Seconds that the header ``Retry-After`` asks to wait, at most 10 h; None when there is none or it makes no sense.

    Args:
        text: Seconds (``120``) or an HTTP date; signs, exponents, NaN and anything else are ignored.
        now: Milliseconds since 1970. A date that has passed is 0 seconds.
    """
    text = (text or "").strip()
    # The length first: what a hostile receiver sends is not parsed at leisure.
    if not text or len(text) > 64:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
        wait_s = (to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now) / 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)
