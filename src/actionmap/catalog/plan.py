"""Two sets of definitions → what has to change, with a readable difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Literal

import yaml

from actionmap.catalog.documents import NOT_TEXT
from actionmap.catalog.lifecycle import Action, Entries, Entry, Step, saved
from actionmap.catalog.models import KINDS, Definition
from actionmap.catalog.parse import Definitions
from actionmap.errors import DefinitionError, Finding, LifecycleError


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one definition."""

    action: Action | Literal["unchanged"]
    kind: str
    name: str
    #: Lines of a unified difference of its YAML; empty when unchanged.
    diff: tuple[str, ...] = ()
    #: What is written; None when it is deleted, or unchanged.
    step: Step | None = None

    @property
    def key(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"


def plan(current: Entries, wanted: Definitions, *, prune: bool) -> list[Change]:
    """What has to change for ``current`` to become ``wanted``, in the order in which definitions depend on each other.

    Args:
        current: The set as it is.
        wanted: The set as it should be; what is published takes over at once.
        prune: Delete what ``wanted`` does not hold; otherwise it stays.

    Raises:
        LifecycleError: the state of a definition does not allow it; all findings at once.
    """
    changes: list[Change] = []
    findings: list[Finding] = []
    for key in dict.fromkeys([*wanted, *(current if prune else ())]):
        try:
            changes.append(_change(current.get(key), wanted.get(key)))
        except DefinitionError as error:
            findings.extend(error.findings)
    if findings:
        raise LifecycleError(findings)
    order = list(KINDS)
    return sorted(changes, key=lambda change: (order.index(change.kind), change.name))


def _change(before: Entry | None, wanted: Definition | None) -> Change:
    if wanted is None:
        assert before is not None
        now = before.definition
        return Change("delete", now.kind_name, now.name, difference(now, None))
    step = saved(before, wanted, takes_over=True)
    if step is None:
        return Change("unchanged", wanted.kind_name, wanted.name)
    return Change(step.action, wanted.kind_name, wanted.name, difference(replaced_by(before, step), step.written), step)


def replaced_by(before: Entry | None, step: Step) -> Definition | None:
    """What people see ``step`` change: a draft follows the draft before it."""
    if before is None:
        return None
    return before.newest if step.action in ("draft", "publish") else before.definition


def difference(before: Definition | None, after: Definition | None) -> tuple[str, ...]:
    """The lines of a unified difference of the YAML of the two."""
    if before is None or after is None:
        # Ten thousand new definitions are not compared with nothing, line by line.
        sign, lines = ("+", _lines(after)) if before is None else ("-", _lines(before))
        return ("--- now", "+++ then", *(sign + line for line in lines))
    return tuple(unified_diff(_lines(before), _lines(after), "now", "then", lineterm="", n=2))


def _lines(definition: Definition | None) -> list[str]:
    return [] if definition is None else to_yaml(definition).splitlines()


class _Dumper(yaml.CSafeDumper):
    """Writes texts in quotes where YAML 1.1 and 1.2 would read them differently; both read what it writes alike."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Line breaks of Unicode survive only as escapes.
    style = '"' if any(mark in text for mark in "\r\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)
# A text that would resolve to any other tag than its own is written in quotes.
for _pattern in NOT_TEXT:
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:binary", _pattern, list("-+.0123456789~nNtTfF"))


def to_yaml(definition: Definition) -> str:
    """``definition`` as one YAML document that reads back as the same."""
    return _dump({"kind": definition.kind_name, **definition.as_written()})


def to_yaml_documents(definitions: Iterable[Definition]) -> str:
    """``definitions`` as the documents of one YAML file."""
    return "---\n".join(to_yaml(definition) for definition in definitions)


def _dump(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
