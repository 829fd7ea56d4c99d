"""Event + Visitor + Rulebook → Decision. Pure: no I/O; time comes with the event."""

from actionmap.decide.judge import decide
from actionmap.decide.policy import Policy
from actionmap.decide.timeline import Timeline

__all__ = ["Policy", "Timeline", "decide"]
