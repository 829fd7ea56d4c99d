"""Breaker: stops sending to a receiver that fails, tries it with one request now and then, and begins again gently.

The states are Nygard's (Release It!, 2007): closed, open, half-open. Time and chance are arguments.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from msgspec import Struct

State = Literal["closed", "open", "half-open"]

#: It opens after so many failures in a row, or when of at least so many attempts in a window this share failed.
FAILURES_IN_A_ROW = 10
WINDOW_MS = 300_000
LEAST_ATTEMPTS = 10
SHARE = 0.7
#: Attempts remembered of a window.
_REMEMBERED = 256
#: How long it stays open: the first time, twice as long each time a probe fails, and at most.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 5_000, 300_000
#: Share by which a pause is longer by chance, so that workers do not come back all at once.
JITTER = 0.2


class Change(Struct, frozen=True):
    """The breaker has changed its state."""

    state: State
    #: When a probe may go, in milliseconds since 1970; only while open.
    until: int | None = None


class Breaker:
    """The breaker of one integration in one worker; open, it pauses for ``first_pause_ms`` at first."""

    def __init__(self, first_pause_ms: int = FIRST_PAUSE_MS) -> None:
        self.state: State = "closed"
        #: When a probe may go; in milliseconds since 1970.
        self.until = 0
        self._in_a_row = 0
        self._recent: deque[tuple[int, bool]] = deque(maxlen=_REMEMBERED)
        self._first_pause_ms = self._pause_ms = first_pause_ms
        self._probing = False
        self._turn = 0

    def is_shut(self, now: int) -> bool:
        """Whether no attempt may start."""
        return self.state != "closed" and (now < self.until or self._probing)

    def lets_through(self, now: int) -> int | None:
        """The turn in which an attempt may start, for `ended`; None: none may. A probe is the only one of its turn."""
        if self.state == "closed":
            return self._turn
        if self.is_shut(now):
            return None
        self.state, self._probing = "half-open", True
        self._turn += 1
        return self._turn

    def ended(self, turn: int, now: int, *, failed: bool | None, chance: float) -> Change | None:
        """An attempt ended; answers what that changes. One of an earlier turn says nothing of now.

        Args:
            turn: The turn in which it started.
            now: Milliseconds since 1970.
            failed: None when it says nothing of the receiver (a secret of ours is missing, …).
            chance: A random number in [0, 1).
        """
        if turn != self._turn:
            return None
        if self.state != "closed":
            # Only its probe is of this turn; those that began before it opened are of the one before.
            if self.state == "open":
                return None
            self._probing = False
            return None if failed is None else self._after_probe(now, failed, chance)
        if failed is None:
            return None
        self._in_a_row = self._in_a_row + 1 if failed else 0
        self._recent.append((now, failed))
        if failed and (self._in_a_row >= FAILURES_IN_A_ROW or self._share_is_reached(now)):
            return self._open(now, chance)
        return None

    def _share_is_reached(self, now: int) -> bool:
        while self._recent[0][0] <= now - WINDOW_MS:
            self._recent.popleft()
        failures = sum(failed for _, failed in self._recent)
        return len(self._recent) >= LEAST_ATTEMPTS and failures >= SHARE * len(self._recent)

    def _after_probe(self, now: int, failed: bool, chance: float) -> Change:
        if failed:
            self._pause_ms = min(2 * self._pause_ms, LONGEST_PAUSE_MS)
            return self._open(now, chance)
        self.state, self._pause_ms, self._in_a_row = "closed", self._first_pause_ms, 0
        self._recent.clear()
        return Change("closed")

    def _open(self, now: int, chance: float) -> Change:
        self.state, self.until = "open", now + round(self._pause_ms * (1 + JITTER * chance))
        return Change("open", self.until)
