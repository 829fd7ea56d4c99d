"""The go-live check, made again and again: a metric, and an event when an active map stops being ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from actionmap.errors import ActionmapError
from actionmap.golive.chain import active_maps
from actionmap.golive.every import check_each
from actionmap.golive.survey import Survey
from actionmap.telemetry import Metrics, logger

#: Maps that are told by name, at each look.
_MOST_TOLD = 100
#: How often it is seen whether the definitions have changed.
_SEEN_EVERY_S = 0.25
#: Between two looks lies at least this, and this many times as long as the last one took.
_REST_S, _REST_TIMES = 1.0, 4


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look has found: how many maps are active, which of them are not ready and why, and those with drafts."""

    active: frozenset[str] = frozenset()
    failing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outdated: frozenset[str] = frozenset()


class Watch:
    """Checks all active maps every so often, and when definitions have changed.

    Args:
        survey: Asks the running system.
        metrics: Where ready maps are counted.
        every_s: Seconds between two looks.
    """

    def __init__(self, survey: Survey, metrics: Metrics, every_s: float) -> None:
        self._survey = survey
        self._metrics = metrics
        self._every_s = every_s
        self._log = logger("golive")
        #: None until the first look.
        self._last: _Look | None = None

    async def run(self) -> None:
        """Look for ever; a look that fails is made again next time."""
        while True:
            revision, began = self._survey.registry.revision, time.monotonic()
            try:
                await self.look()
            except ActionmapError as error:
                self._log.debug("golive.away", error=str(error))
            except Exception:
                # A fault of ours must not end the server.
                self._log.exception("golive.fault")
            took_s = time.monotonic() - began
            await asyncio.sleep(max(_REST_S, _REST_TIMES * took_s))
            await self._changed(revision, began + self._every_s)

    async def _changed(self, revision: int, until: float) -> None:
        """Wait until the definitions have another revision, or it is time."""
        while self._survey.registry.revision == revision and time.monotonic() < until:  # noqa: ASYNC110 - a number
            await asyncio.sleep(_SEEN_EVERY_S)

    async def look(self) -> None:
        """Check all active maps once, tell metrics, and what has changed since the look before.

        Raises:
            Unreachable: the store does not answer.
        """
        registry = self._survey.registry
        names = await asyncio.to_thread(active_maps, registry.definitions)
        await self._survey.probe_untried(names)
        # Lookups only ever warn, and counting those of all maps is much.
        around = await self._survey.around(lookups=None)
        definitions, parts = registry.definitions, registry.rulebook.parts

        def check_all() -> _Look:
            failing, outdated, active = {}, set(), active_maps(definitions)
            for found in check_each(definitions, active, around, parts):
                if not found.ready:
                    failing[found.action_map] = found.failing
                if any(check.name == "no-newer-draft" and check.status == "warn" for check in found.checks):
                    outdated.add(found.action_map)
            return _Look(frozenset(active), failing, frozenset(outdated))

        look = await asyncio.to_thread(check_all)
        self._measure(look)
        if self._last is not None:
            self._tell(self._last, look)
        self._last = look

    def _measure(self, look: _Look) -> None:
        metrics = self._metrics
        metrics.golive_ready.set(len(look.active) - len(look.failing))
        metrics.golive_not_ready.clear()
        for name in sorted(look.failing)[:_MOST_TOLD]:
            metrics.golive_not_ready.labels(name).set(1)

    def _tell(self, last: _Look, look: _Look) -> None:
        """Log what has changed; maps that were not active before, or are not any more, have lost nothing."""
        lost = sorted(name for name in look.failing if name in last.active and name not in last.failing)
        regained = sorted(name for name in last.failing if name in look.active and name not in look.failing)
        self._metrics.golive_lost.inc(len(lost))
        for name in lost[:_MOST_TOLD]:
            self._log.warning("golive.lost", action_map=name, failing=list(look.failing[name]),
                              means=f"it would not fire; see: actionmap check-golive {name}")  # fmt: skip
        for name in regained[:_MOST_TOLD]:
            self._log.info("golive.regained", action_map=name)
        for event, names in (("golive.lost", lost), ("golive.regained", regained)):
            if len(names) > _MOST_TOLD:
                self._log.warning(event, more=len(names) - _MOST_TOLD)
        if outdated := sorted(look.outdated - last.outdated):
            self._log.info("golive.newer_draft", action_maps=outdated[:_MOST_TOLD], number=len(outdated))
