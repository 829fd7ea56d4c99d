"""Where a run is cut: the calls of the pipeline, and what happens to one passage of one of them."""

import random
from typing import Literal, NamedTuple

#: Every call that the way of a record, or of a delivery, waits for.
Call = Literal["fetch", "fence", "claim", "load", "due", "apply", "wait_durable", "lease", "post", "ack", "nack",
               "bury", "commit"]  # fmt: skip
#: ``before``, ``during``, ``after``: the worker is killed there; ``during``, the call is on its way. ``lost``: it is
#: executed, its reply never comes, the worker lives. ``store``: after it the store is killed, the worker lives.
#: ``received``, ``answered``: the receiver kills the worker before it answers, or when it has. ``frozen``: it stands
#: still before the call until another one has taken over, and then goes on. ``quiet``: the store is killed when all of
#: the log is evaluated and nothing else comes, so that only a look at the fence can tell.
When = Literal["before", "during", "after", "lost", "store", "received", "answered", "frozen", "quiet"]


#: Ids of a visitor's events by which a duplicate is recognised, in the workers and in the oracle.
REMEMBERED_IDS = 2


class Cut(NamedTuple):
    """What happens to the n-th passage of a call in one life of a worker."""

    call: Call
    when: When
    nth: int = 1
    #: How often the event loop turns between the beginning of the call and the kill.
    turns: int = 1

    @property
    def point(self) -> str:
        return f"{self.call}:{self.when}"

    @property
    def kills(self) -> bool:
        return self.when not in ("lost", "store", "frozen", "quiet")


#: How many passages of each there surely are over the first half of a log.
_PASSAGES: dict[Call, int] = {"fetch": 2, "fence": 2, "claim": 2, "load": 4, "due": 2, "apply": 8, "wait_durable": 3,
                              "lease": 4, "post": 8, "ack": 2, "nack": 1, "bury": 1, "commit": 1}  # fmt: skip
_KILLS: tuple[When, ...] = ("before", "during", "after")
_WRITES: tuple[Call, ...] = ("claim", "apply", "lease", "ack", "nack", "bury")
_STORE_DIES: tuple[Call, ...] = ("claim", "load", "due", "apply", "wait_durable", "lease", "post", "ack", "commit")
_FROZEN: tuple[Call, ...] = ("load", "due", "apply", "wait_durable", "lease", "post", "ack", "nack", "bury", "commit")
_TURNS = (1, 2, 3, 5, 8)

#: Every point, each as a cut of the first passage.
POINTS: dict[str, Cut] = {
    cut.point: cut
    for cut in (
        *(Cut(call, when) for call in _PASSAGES for when in _KILLS),
        Cut("apply", "quiet"),
        Cut("post", "received"),
        Cut("post", "answered"),
        *(Cut(call, "lost") for call in _WRITES),
        *(Cut(call, "store") for call in _STORE_DIES),
        *(Cut(call, "frozen") for call in _FROZEN),
    )
}


def cut_at(point: str, chance: random.Random) -> Cut:
    """A cut at ``point``, at some passage of it."""
    cut = POINTS[point]
    return cut._replace(nth=chance.randint(1, _PASSAGES[cut.call]), turns=chance.choice(_TURNS))


def any_kill(chance: random.Random) -> Cut:
    """A cut that kills the worker, anywhere."""
    return cut_at(chance.choice([point for point, cut in POINTS.items() if cut.kills]), chance)
