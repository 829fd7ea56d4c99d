"""Event + Visitor + Rulebook → Decision. Pure: no I/O; time comes with the event."""

from actionmap.decide.judge import Policy, decide

__all__ = ["Policy", "decide"]
