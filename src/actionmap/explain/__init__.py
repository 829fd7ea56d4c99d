"""Why a map fired for an event, or did not: each condition with what was seen, each check, each lookup."""

from actionmap.explain.explainer import Explainer
from actionmap.explain.explanation import Explanation
from actionmap.explain.given import given_event

__all__ = ["Explainer", "Explanation", "given_event"]
