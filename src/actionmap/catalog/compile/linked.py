"""Linked: definitions by kind, and what is wrong with how they refer to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from actionmap.catalog.models import Definition
from actionmap.catalog.parse import nearest
from actionmap.errors import Finding

Some = TypeVar("Some", bound=Definition)


class Linked:
    """A set of definitions while it is compiled."""

    def __init__(self, definitions: Mapping[str, Definition]) -> None:
        self.definitions = definitions
        self.findings: list[Finding] = []
        self._by_kind: dict[str, list[Definition]] = {}
        for definition in definitions.values():
            self._by_kind.setdefault(definition.kind_name, []).append(definition)

    def all(self, kind: type[Some]) -> list[Some]:
        """The definitions of one kind."""
        return cast(list[Some], self._by_kind.get(kind.kind_name, []))

    def get(self, kind: type[Some], name: str) -> Some | None:
        """The definition of that kind and name."""
        found = self.definitions.get(f"{kind.kind_name}/{name}")
        return found if isinstance(found, kind) else None

    def found(self, definition: Definition, path: str, message: str) -> None:
        """Note what is wrong at ``path`` of ``definition``."""
        subject = f"{definition.kind_name} {definition.name}"
        self.findings.append(Finding(message=message, path=path, subject=subject))

    def referred(self, definition: Definition, path: str, kind: type[Some], name: str) -> Some | None:
        """What ``definition`` refers to at ``path``, of its own company; where it does not exist, that is noted."""
        found = self.get(kind, name)
        if found is None or found.company != definition.company:
            hint = nearest(name, self.names(kind, definition.company))
            self.found(definition, path, f"there is no {kind.kind_name} {name!r}{hint}")
            return None
        return found

    def names(self, kind: type[Definition], company: str) -> frozenset[str]:
        """The names of the definitions of one kind and company."""
        return frozenset(some.name for some in self.all(kind) if some.company == company)
