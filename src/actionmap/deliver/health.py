"""Health: how each integration is doing, shared with all workers: who is paused, and who has failed for days."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from actionmap.deliver.settle import STORE_AWAY
from actionmap.store.integrations import UNKNOWN, Hold, IntegrationHealth, IntegrationState, IntegrationStore
from actionmap.telemetry import logger

_DAY_MS = 86_400_000
#: An integration is disabled, until a person resumes it, when it has failed on so many days, over so long, without any
#: success between.
DISABLED_AFTER_MS, FAILED_DAYS = 5 * _DAY_MS, 4
#: Seconds between two looks at what others have noted.
_LOOK_EVERY_S = 1.0
#: A failure is noted anew when the one noted before is so old.
_NOTED_EVERY_MS = 60_000


class Health:
    """What this worker knows of the integrations; a failing store leaves it with what it knew.

    Args:
        store: Where it is shared.
        worker: Name of this worker.
        breakers: The breakers that are not closed, for the others to see.
        edition: Which edition of an integration is in force (`reported.edition_of`), by its name.
    """

    def __init__(
        self,
        store: IntegrationStore,
        worker: str,
        breakers: Callable[[], Mapping[str, str]] = dict,
        edition: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.store = store
        self.breakers = breakers
        self._edition = edition
        self._worker = worker
        self._known: dict[str, IntegrationState] = {}
        #: What this worker has to say, until it is written.
        self._news: dict[str, IntegrationHealth] = {}
        self._disable: dict[str, Hold] = {}
        self._told: dict[str, str] = {}
        self._log = logger("deliver")

    def held(self, name: str) -> str:
        """Why deliveries to the integration are held, in words for people; "" when they are not."""
        hold = self._known.get(name, UNKNOWN).hold or self._disable.get(name)
        if hold is None:
            return ""
        return f"the integration is {hold.kind}{f': {hold.reason}' if hold.reason else ''}"

    def _of(self, name: str) -> IntegrationHealth:
        return self._news.get(name) or self._known.get(name, UNKNOWN).health

    def ended(self, name: str, now: int, *, failed: bool | None, error: str) -> None:
        """An attempt ended at ``now``; ``failed`` is None when it says nothing of the receiver."""
        health, edition = self._of(name), self._edition(name)
        if failed is False and (health.failing_since is not None or not self._is_proven(name, health, edition)):
            self._news[name] = IntegrationHealth(warning=health.warning, proven_as=edition, proven_at=now)
        elif failed and (health.last_failure is None or now - health.last_failure >= _NOTED_EVERY_MS
                         or health.failed_as != edition):  # fmt: skip
            health = replace(_with_failure(health, now, error), failed_as=edition)
            self._news[name] = health
            if not self.held(name) and _failed_for_days(health, now):
                self._disable[name] = self._disabled(name, health, now)

    def _is_proven(self, name: str, health: IntegrationHealth, edition: str) -> bool:
        """Whether it is noted already that deliveries are accepted, since the last probe that failed, too."""
        probed = self._known.get(name, UNKNOWN).probed
        disproved = probed is not None and probed.problem != "" and probed.at >= health.proven_at
        return health.proven_as == edition and not disproved

    def warn(self, name: str, warning: str) -> None:
        """People should look at the integration, though its deliveries go on."""
        health = self._of(name)
        if health.warning != warning:
            self._news[name] = replace(health, warning=warning)

    def _disabled(self, name: str, health: IntegrationHealth, now: int) -> Hold:
        reason = f"every attempt has failed for {DISABLED_AFTER_MS // _DAY_MS} days; last: {health.last_error}"
        self._log.error("integration.disabled", integration=name, reason=reason,
                        means=f"its deliveries are held until: actionmap integrations resume {name}")  # fmt: skip
        return Hold("disabled", now, reason)

    async def run(self) -> None:
        """Take over what others have noted, and note what this worker has to say, for ever."""
        while True:
            try:
                await self.refresh()
            except STORE_AWAY as error:
                self._log.debug("integrations.away", error=str(error))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def refresh(self) -> None:
        """One look; see `run`.

        Raises:
            Unreachable: the store does not answer.
        """
        for name, health in list(self._news.items()):
            await self.store.note(name, health)
            if self._news[name] is health:
                del self._news[name]
        for name, hold in list(self._disable.items()):
            await self.store.hold(name, hold)
            del self._disable[name]
        self._known = await self.store.states()
        found = dict(self.breakers())
        if found or self._told:
            await self.store.report_breakers(self._worker, found)
            self._told = found


def _with_failure(health: IntegrationHealth, now: int, error: str) -> IntegrationHealth:
    is_new_day = health.last_failure is None or now // _DAY_MS != health.last_failure // _DAY_MS
    return replace(
        health, failing_since=now if health.failing_since is None else health.failing_since, last_failure=now,
        last_error=error[:200], days=health.days + is_new_day,
    )  # fmt: skip


def _failed_for_days(health: IntegrationHealth, now: int) -> bool:
    since = health.failing_since
    return since is not None and now - since >= DISABLED_AFTER_MS and health.days >= FAILED_DAYS
