"""Referee: feed it events, and it names each map of which our index and durable-rules disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from actionmap.catalog.models import ActionMap, Definition
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.second_opinion.opinion import SecondOpinion


class Disagreement(NamedTuple):
    """One map, at one event, that matches for one of the two engines alone."""

    #: Place of the event among those fed, counted from 1.
    position: int
    action_map: str
    ours: bool
    theirs: bool


class Referee:
    """Both engines side by side. A context manager: leaving it ends durable-rules' process."""

    def __init__(self, definitions: Mapping[str, Definition], rulebook: Rulebook) -> None:
        """Compile the active maps of ``definitions``, of which ``rulebook`` was made.

        Raises:
            ActionmapError: durable-rules is not installed.
        """
        active = [one for one in definitions.values() if isinstance(one, ActionMap) and one.active]
        self._rulebook = rulebook
        self._opinion = SecondOpinion(active)
        #: How many events were fed.
        self.events = 0
        #: How many decisions were compared.
        self.decisions = 0
        #: Map → how many events durable-rules could not judge it at, and the last reason.
        self.undecided: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._maps = len(active) - len(self._opinion.outside)

    @property
    def outside(self) -> Mapping[str, str]:
        """Name of each map that durable-rules cannot say → why; it is never compared."""
        return self._opinion.outside

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opinion.close()

    def judge(self, scope: Scope) -> list[Disagreement]:
        """Where the two disagree on the event in ``scope``, as maps are judged by it (``decide.observe``)."""
        self.events += 1
        answer = self._opinion.matching(self._opinion.facts(scope))
        self.undecided.update(answer.undecided.keys())
        self.reasons |= answer.undecided
        self.decisions += self._maps - len(answer.undecided)
        ours = {one.name for one in self._rulebook.index.candidates(scope) if one.absence is None and one.test(scope)}
        skipped = self.outside.keys() | answer.undecided.keys()
        return [
            Disagreement(self.events, name, name in ours, name in answer.matching)
            for name in sorted((ours ^ answer.matching) - skipped)
        ]
