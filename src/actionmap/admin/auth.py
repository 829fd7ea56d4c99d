"""API keys: who may do what. Keys are kept as hashes only, and compared in constant time."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from actionmap.catalog.models import ActionMap, DataAction, Definition, Segment, Webhook
from actionmap.settings import RIGHTS


class ApiKeys:
    """The keys of one server."""

    def __init__(self, rights_by_key: Mapping[str, frozenset[str]], *, open_access: bool = False) -> None:
        """Args:
        rights_by_key: What each key may do.
        open_access: Grant everything without a key; for loopback alone.
        """
        # A look-up by hash tells an attacker who measures time about the hash alone.
        self._rights = {_hash(key): frozenset(rights) for key, rights in rights_by_key.items()}
        self._open_access = open_access

    def rights(self, key: str | None) -> frozenset[str] | None:
        """The rights of ``key``; None when it is no key."""
        if key is not None and (rights := self._rights.get(_hash(key))) is not None:
            return rights
        return frozenset(RIGHTS) if self._open_access else None


def rights_to_change(before: Definition | None, after: Definition | None) -> tuple[str, ...]:
    """The rights that it takes to put ``after`` in the place of ``before``; None stands for no definition.

    `edit`, and `publish` besides when one of the two is live: what is sent, and to where, is for those who may publish.
    """
    is_live = any(_is_live(some) for some in (before, after) if some is not None)
    return ("edit", "publish") if is_live else ("edit",)


def _is_live(definition: Definition) -> bool:
    match definition:
        case DataAction() | Webhook():
            return definition.state == "published"
        case ActionMap() | Segment():
            return definition.active
        case _:
            # Base URL and credentials of an integration decide where secrets go, whatever its state.
            return True


def _hash(key: str) -> bytes:
    return sha256(key.encode(errors="replace")).digest()
