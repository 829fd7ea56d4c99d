"""Test cases of definitions: events in, firings out (``*.cases.yaml`` beside the rules)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from actionmap.catalog.documents import CASES_SUFFIX, Document, PathKey, read_file
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide import Policy
from actionmap.decision import Decision
from actionmap.errors import DefinitionError, Finding
from actionmap.event import Event
from actionmap.simulate import simulate

_FIRING_KEYS = ("actionMap", "visitorId", "eventId")


class Firing(NamedTuple):
    """One firing that a case expects."""

    action_map: str
    visitor_id: str
    event_id: str

    def __str__(self) -> str:
        return f"{self.action_map} for {self.visitor_id} at {self.event_id}"


@dataclass(frozen=True, slots=True)
class Case:
    """Events that come in, and exactly the firings that they lead to."""

    name: str
    events: tuple[dict[str, Any], ...]
    fires: tuple[Firing, ...]
    document: Document
    #: Where it stands in its document.
    at: int

    def finding(self, message: str, *path: str | int) -> Finding:
        """What is wrong with it, with file and line."""
        return Finding(message=f"{self.name}: {message}", file=self.document.file,
                       line=self.document.line((self.at, *path)))  # fmt: skip


def read_cases(folder: Path) -> list[Case]:
    """All cases of the ``*.cases.yaml`` files below ``folder``, in order.

    Raises:
        DefinitionError: a file cannot be read, or a case is none; all findings at once.
    """
    cases: list[Case] = []
    findings: list[Finding] = []
    for path in sorted(folder.rglob(f"*{CASES_SUFFIX}")):
        try:
            documents = read_file(path)
        except DefinitionError as error:
            findings.extend(error.findings)
            continue
        for document in documents:
            for case in _cases(document):
                if isinstance(case, Finding):
                    findings.append(case)
                else:
                    cases.append(case)
    if findings:
        raise DefinitionError(findings)
    return cases


def _cases(document: Document) -> Iterator[Case | Finding]:
    def wrong(message: str, *path: str | int) -> Finding:
        return Finding(message=message, file=document.file, line=document.line(path))

    if not isinstance(document.data, list):
        yield wrong("a file of cases is a list: - {name, events: [ … ], fires: [{actionMap, visitorId, eventId}]}")
        return
    for at, data in enumerate(document.data):
        problems = list(_problems(data))
        if problems:
            yield from (wrong(message, at, *path) for path, message in problems)
        else:
            fires = tuple(Firing(*(item[key] for key in _FIRING_KEYS)) for item in data.get("fires", ()))
            yield Case(data["name"], tuple(data["events"]), fires, document, at)


def _problems(data: Any) -> Iterator[tuple[PathKey, str]]:
    if not isinstance(data, dict):
        yield (), "a case has name, events and fires"
        return
    for key in data.keys() - {"name", "events", "fires"}:
        yield (key,), f"unknown field {key!r}; a case has name, events and fires"
    if not isinstance(data.get("name"), str):
        yield ("name",), "a case has a name"
    events, fires = data.get("events"), data.get("fires", [])
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        yield ("events",), "events is a list of events, each as it is sent, with its timestamp"
    if not isinstance(fires, list):
        yield ("fires",), "fires is a list of {actionMap, visitorId, eventId}; an empty one when nothing fires"
        return
    for index, item in enumerate(fires):
        if not isinstance(item, dict) or item.keys() != set(_FIRING_KEYS):
            yield ("fires", index), "a firing is {actionMap, visitorId, eventId}"
        elif not all(isinstance(value, str) for value in item.values()):
            yield ("fires", index), "actionMap, visitorId and eventId are texts; put a number in quotes"


def run_case(case: Case, rulebook: Rulebook, policy: Policy) -> list[Finding]:
    """What is not as ``case`` expects; nothing when all is.

    An event without an id is ``NAME/0/n``, the n-th of the case called NAME.
    """
    unknown = [case.finding(f"there is no active action map {one.action_map!r}", "fires", index)
               for index, one in enumerate(case.fires) if one.action_map not in rulebook.by_name]  # fmt: skip
    if unknown:
        return unknown
    why: dict[Firing, str] = {}

    def note(event: Event, decision: Decision) -> None:
        for verdict in decision.verdicts:
            at = Firing(verdict.action_map, event.visitor_id, event.id)
            why[at] = " · ".join(filter(None, (verdict.reason, verdict.detail)))

    lines = [(number, msgspec.json.encode(event)) for number, event in enumerate(case.events, 1)]
    found = simulate(rulebook, lines, source=case.name, policy=policy, on_decision=note)
    bad = [case.finding(f"{reason}: {detail}", "events", number - 1) for number, reason, detail in found.bad_lines]
    fired = Counter(Firing(one.action_map, one.visitor_id, one.event_id) for one in found.deliveries)
    return bad or [*_missing(case, fired, why), *_unexpected(case, fired)]


def _missing(case: Case, fired: Counter[Firing], why: dict[Firing, str]) -> Sequence[Finding]:
    left, findings = fired.copy(), []
    for index, expected in enumerate(case.fires):
        if left[expected] > 0:
            left[expected] -= 1
            continue
        if fired[expected]:
            message = f"{expected} fired {fired[expected]} times, and is expected more often"
        else:
            message = f"{expected} did not fire: {why.get(expected, 'its conditions do not hold there')}"
        findings.append(case.finding(message, "fires", index))
    return findings


def _unexpected(case: Case, fired: Counter[Firing]) -> Sequence[Finding]:
    return [case.finding(f"{one} fired, and is not expected", "fires")
            for one in (fired - Counter(case.fires)).elements()]  # fmt: skip
