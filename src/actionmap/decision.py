"""Decision: all verdicts of one event, the deliveries owed, and the visitor afterwards."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from actionmap.delivery import DeadLetter, Delivery
from actionmap.visitor import Visitor

#: Why a map fired or did not (semantics §5). One word per reason, everywhere.
Reason = Literal[
    "fired",
    # All but sending: the map is in shadow mode.
    "shadow",
    "condition-false",
    "not-live",
    "outside-dates",
    "outside-schedule",
    "page-url",
    "capped",
    "holdout",
    # Another map of its exclusive group stands before it.
    "outranked",
    "lookup-missing",
    "unrenderable",
    "error",
    # A wait began, ended without firing, or could not begin.
    "waiting",
    "cancelled",
    "too-many-waits",
    # So many deliveries led to the event, each by its outcome, that it may be a loop.
    "chain-too-long",
]


class Verdict(Struct, frozen=True, gc=False):
    """One map's answer for one event."""

    action_map: str
    reason: Reason
    #: What exactly stood in the way, for people; empty where the reason says it all.
    detail: str = ""


class LookedUp(Struct, frozen=True, gc=False):
    """The lookups that were made for a match of an action map, whether they let it fire or not."""

    action_map: str
    #: Which lookups they were (`catalog.mappings.key_of_lookups`).
    lookups: str
    #: Fields of the input contract whose lookup had no value.
    missing: tuple[str, ...] = ()


class Decision(Struct, frozen=True, gc=False):
    """What one event, or one timer, leads to."""

    #: ``judged``; ``duplicate`` and ``late`` events are not judged; ``timer``: a wait was over;
    #: ``expiry``: a membership was; ``replayed``: judged again by the maps that had broken on it.
    #: ``outcome``: a delivery had ended; ``refused``: an assignment to what is no external segment.
    #: ``erased``: the visitor is to be forgotten.
    outcome: Literal["judged", "duplicate", "late", "timer", "expiry", "replayed", "outcome", "refused", "erased"]
    #: The visitor with this event in it; of an erasure, as it was.
    visitor: Visitor
    verdicts: tuple[Verdict, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    #: Deliveries that are dead at birth (``unrenderable``).
    dead_letters: tuple[DeadLetter, ...] = ()
    looked_up: tuple[LookedUp, ...] = ()
    #: What maps in shadow mode would owe.
    shadowed: tuple[Delivery, ...] = ()
