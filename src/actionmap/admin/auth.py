"""API keys: who may do what. Keys are kept as hashes only, and compared in constant time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actionmap.catalog.lifecycle import ASIDE, Entry, Step
from actionmap.catalog.models import ActionMap, DataAction, Definition, Segment, Webhook
from actionmap.settings import RIGHTS, ApiKey, hash_of_key


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the API key tells."""

    #: The key's name, for the audit.
    name: str
    rights: frozenset[str]
    #: Whose definitions it may see and change; None for those of all.
    company: str | None = None

    def sees(self, definition: Definition) -> bool:
        """Whether ``definition`` is any of its business."""
        return self.sees_company(definition.company)

    def sees_company(self, company: str) -> bool:
        """Whether what is of ``company`` is any of its business."""
        return self.company in (None, company)


#: The right that is enough for a step of a definition.
RightFor = Callable[[Definition], str]
#: Who asks where no key is needed.
ANYBODY = Caller("anybody", frozenset(RIGHTS))


class ApiKeys:
    """The keys of one server: those of its settings, and those that the store holds."""

    def __init__(self, given: Mapping[str, ApiKey], *, open_access: bool = False) -> None:
        """Args:
        given: Keys by their hash (`hash_of_key`).
        open_access: Grant everything without a key; for loopback alone.
        """
        self._given = {hash_: Caller(key.name, key.rights, key.company) for hash_, key in given.items()}
        self._stored: dict[str, Caller] = {}
        self._open_access = open_access

    def caller(self, key: str | None) -> Caller | None:
        """Who asks with ``key``; None when it is no key."""
        if key is not None:
            # A look-up by hash tells an attacker who measures time about the hash alone.
            hash_ = hash_of_key(key)
            if (found := self._given.get(hash_) or self._stored.get(hash_)) is not None:
                return found
        return ANYBODY if self._open_access else None

    def rights(self, key: str | None) -> frozenset[str] | None:
        """The rights of ``key``; None when it is no key."""
        caller = self.caller(key)
        return None if caller is None else caller.rights

    def take_over(self, stored: Mapping[str, ApiKey]) -> None:
        """Know the keys ``stored``, by their hash, instead of those that the store held before."""
        self._stored = {hash_: Caller(key.name, key.rights, key.company) for hash_, key in stored.items()}

    def is_taken(self, name: str) -> bool:
        """Whether a key is called ``name``."""
        return any(caller.name == name for some in (self._given, self._stored) for caller in some.values())


def rights_for(before: Entry | None, step: Step | None) -> tuple[str, ...]:
    """The rights that ``step`` takes; without one, those that deleting takes.

    `edit`, and `publish` besides where what is live changes: what is sent, and to where, is for those who may publish.
    """
    if before is not None and step is not None:
        is_aside = step.action in ASIDE or step.definition is before.definition
        if is_aside or _only_keeps_back(before.definition, step.definition):
            return ("edit",)
    some = (before.definition if before is not None else None, step.definition if step is not None else None)
    return ("edit", "publish") if any(_is_live(one) for one in some if one is not None) else ("edit",)


def _only_keeps_back(now: Definition, then: Definition) -> bool:
    """Whether a map fires no more, and nothing else fires for it: one in a group would leave its place to others."""
    if not (isinstance(now, ActionMap) and isinstance(then, ActionMap)):
        return False
    return now.active and not then.active and now.group is None and then.group is None


def right_for(verb: str) -> RightFor:
    """Tells the right that is enough for ``verb`` (`deactivate`, `archive`, …) of a definition, as it is now."""
    return {"deactivate": _right_to_deactivate, "archive": _right_to_archive}.get(verb, lambda _: "publish")


def _right_to_archive(now: Definition) -> str:
    """The right that is enough to archive ``now``: a draft was never sent."""
    return "publish" if _is_live(now) else "edit"


def _right_to_deactivate(now: Definition) -> str:
    """The right that is enough to switch ``now`` off.

    Without a segment, or the first of a group, others may fire; and without an integration, the maps that use it stand
    first in no group.
    """
    keeps_back_alone = isinstance(now, ActionMap) and now.group is None
    return "edit" if keeps_back_alone else "publish"


def _is_live(definition: Definition) -> bool:
    match definition:
        case DataAction() | Webhook():
            return definition.state == "published"
        case ActionMap() | Segment():
            return definition.active
        case _:
            # Base URL and credentials of an integration decide where secrets go, whatever its state.
            return True
