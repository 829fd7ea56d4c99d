"""durable-rules as an independent second opinion on which maps match an event: never in the live path.

It is another engine, written by other people in another language. What it can carry, and why it is not the engine
itself, is measured in ``docs/why.md``. So it runs in a child process of its own, under one session id, with facts that
are taken back after each event, at most `MAX_MAPS` maps a rule set, and typed values: what it takes for equal that is
not, or compares wrongly, is kept from it, and named. What happened before (``count``, ``sequence``, changes of
segments) is told to it as facts: both engines have that from one layer.
"""

from actionmap.second_opinion.compare import Disagreement, Referee
from actionmap.second_opinion.opinion import MAX_MAPS, Answer, SecondOpinion

__all__ = ["MAX_MAPS", "Answer", "Disagreement", "Referee", "SecondOpinion"]
