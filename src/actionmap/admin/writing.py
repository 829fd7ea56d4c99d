"""What every change of definitions over REST goes through: what the caller may see, its rights, and the version."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from actionmap.admin.auth import Caller, rights_for
from actionmap.admin.definition_json import READ_ONLY
from actionmap.admin.requests import Guard
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.lifecycle import Entry, Step
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import Definitions, nearest
from actionmap.catalog.rulebook import Rulebook
from actionmap.collect.problem import Refusal
from actionmap.errors import NotFound
from actionmap.registry import Edit, Registry


class Writer:
    """Finds definitions, and makes edits of them, for those who may."""

    def __init__(self, registry: Registry, guard: Guard, *, requires_if_match: bool = False) -> None:
        self.registry = registry
        self.guard = guard
        self._requires_if_match = requires_if_match

    def find(self, caller: Caller, kind: str, name: str) -> Entry:
        """The definition of that kind and name.

        Raises:
            NotFound: there is none, or none that ``caller`` may see.
        """
        found = self.registry.entries.get(f"{kind}/{name}")
        if found is None or not caller.sees(found.definition):
            of_kind = self.registry.of_kind(kind)
            known = [some.definition.name for some in of_kind if caller.sees(some.definition)]
            raise NotFound(f"there is no {kind} {name!r}{nearest(name, known)}")
        return found

    def own(self, caller: Caller) -> tuple[Definitions, Rulebook]:
        """The definitions that ``caller`` may see, and what they compile to; of a company, without all others'."""
        if caller.company is None:
            return self.registry.definitions, self.registry.rulebook
        own = {key: some for key, some in self.registry.definitions.items() if caller.sees(some)}
        return own, compile_rulebook(own, self.registry.revision, self.registry.versions)

    def sealed(self, definition: Definition) -> Definition:
        """``definition`` as it may be stored; raises as `Registry.sealed` does."""
        return self.registry.sealed({definition.key: definition})[definition.key]

    def edit(self, request: Request, before: Entry | None, step: Step | None, right: str | None = None) -> Edit:
        """The edit that is ``step``, or deletes ``before`` without one.

        ``right``: the one that is enough for it; without it, those that `rights_for` tells.

        Raises:
            Refusal: 403, the caller has not the rights that this takes.
        """
        self.guard.check_of_company(request, *((right,) if right else rights_for(before, step)))
        if step is not None:
            return Edit({step.definition.key: step})
        assert before is not None
        return Edit(deleted=frozenset((before.definition.key,)))

    def check_version(self, request: Request, entry: Entry | None, expected: Any, *, is_blind: bool = False) -> None:
        """Refuse what was made from another version than ``entry`` has.

        Args:
            request: Its ``If-Match`` names versions.
            entry: What is there; None when it is deleted.
            expected: The version that the body names; None for none.
            is_blind: Without a version, it would be done whatever is there.

        Raises:
            Refusal: 412, it has another version; 428, one has to be named; 400, the header names none.
        """
        match = request.headers.get("if-match")
        if match is None and expected is None and is_blind and self._requires_if_match:
            raise Refusal(428, "send If-Match with the version (ETag) that you have read")
        tags = [tag.strip().removeprefix("W/").strip('"') for tag in match.split(",")] if match is not None else []
        if match is not None and not any(tags):
            raise Refusal(400, "If-Match names no version; send the ETag that you have read, or leave it out")
        version = 0 if entry is None else entry.version
        is_other = tags and "*" not in tags and str(version) not in tags
        if is_other or expected not in (None, version):
            now = "it is deleted" if entry is None else f"{_words(entry)} is at version {version}"
            raise Refusal(412, f"{now} by now; read it again")

    def of_company(self, caller: Caller, data: Any) -> Any:
        """``data`` of a definition, as one of the caller's company where it has one.

        Raises:
            Refusal: 403, it names another company.
        """
        if caller.company is None or not isinstance(data, dict):
            return data
        if data.setdefault("company", caller.company) != caller.company:
            raise Refusal(403, f"this key is for the definitions of {caller.company} alone")
        return data


def _words(entry: Entry) -> str:
    return f"{entry.definition.kind_name} {entry.definition.name!r}"


def without_read_only(data: Any) -> Any:
    """``data`` without what the server adds to a definition."""
    if not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if name not in READ_ONLY}


def names_in(data: Any, name: str) -> Any:
    """``data`` of the definition ``name``, which it may leave out.

    Raises:
        Refusal: it has another name.
    """
    if isinstance(data, dict) and data.setdefault("name", name) != name:
        raise Refusal(400, f"the name in the body is {data['name']!r}, in the URL {name!r}; names do not change")
    return data
