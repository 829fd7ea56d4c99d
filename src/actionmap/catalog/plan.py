"""Two sets of definitions → what has to change, with a readable difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Literal

import msgspec
import yaml

from actionmap.catalog.documents import NOT_TEXT
from actionmap.catalog.models import KINDS, Definition
from actionmap.catalog.parse import Definitions

Action = Literal["create", "change", "delete", "unchanged"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one definition."""

    action: Action
    kind: str
    name: str
    #: Lines of a unified difference of its YAML; empty when unchanged.
    diff: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Kind and name."""
        return f"{self.kind}/{self.name}"


def plan(current: Definitions, wanted: Definitions, *, prune: bool) -> list[Change]:
    """What has to change for ``current`` to become ``wanted``, in the order in which definitions depend on each other.

    Args:
        current: The set as it is.
        wanted: The set as it should be.
        prune: Delete what ``wanted`` does not hold; otherwise it stays.
    """
    keys = dict.fromkeys([*wanted, *(current if prune else ())])
    changes = [_change(current.get(key), wanted.get(key)) for key in keys]
    order = list(KINDS)
    return sorted(changes, key=lambda change: (order.index(change.kind), change.name))


def _change(before: Definition | None, after: Definition | None) -> Change:
    some = after or before
    assert some is not None
    kind, name = some.kind_name, some.name
    if before is not None and after is not None and _content(before) == _content(after):
        return Change("unchanged", kind, name)
    action: Action = "create" if before is None else "delete" if after is None else "change"
    lines = unified_diff(_lines(before), _lines(after), "now", "then", lineterm="", n=2)
    return Change(action, kind, name, tuple(lines))


def _content(definition: Definition) -> bytes:
    """What ``definition`` says, defaults included, as bytes: in JSON, unlike in Python, 1, 1.0 and true differ."""
    return msgspec.json.encode(definition.model_dump(mode="json"), order="deterministic")


def _lines(definition: Definition | None) -> list[str]:
    return [] if definition is None else to_yaml(definition).splitlines()


class _Dumper(yaml.SafeDumper):
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
