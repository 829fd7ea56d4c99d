"""What is suspicious in maps that wait for the outcome of a delivery: those that name one which nothing has."""

from __future__ import annotations

from collections.abc import Iterator

from actionmap.catalog.clauses import Clause
from actionmap.catalog.conditions import compile_comparison
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import ActionMap, Definition, Webhook
from actionmap.catalog.parse import nearest
from actionmap.errors import Finding
from actionmap.event import OUTCOME_EVENTS

#: Path → what an outcome says there is the name of.
_NAMES: dict[str, type[Definition]] = {"event.attributes.webhook": Webhook, "event.attributes.actionMap": ActionMap}


def outcome_of_nothing(rules: Ruleset) -> Iterator[Finding]:
    """A trigger that asks for the outcome of a webhook, or of a map, that there is none of."""
    known = {path: [one.name for one in rules.definitions.values() if isinstance(one, kind)]
             for path, kind in _NAMES.items()}  # fmt: skip
    for one in rules.maps:
        clauses = rules.trigger_of(one).clauses
        problems = [_unknown_name(clause, known) for clause in clauses]
        if any(problems):
            what = "never fires" if all(problems) else "waits for an outcome that never comes"
            yield finding(one, "trigger", f"{what}: {next(filter(None, problems))}")


def _unknown_name(clause: Clause, known: dict[str, list[str]]) -> str:
    """Which name in ``clause`` no outcome has; "" when it has none such, or asks for no outcome."""
    wanted = [literal for literal in clause if literal.comparison.operator in ("equal", "in") and not literal.negated]
    events = {name for one in wanted if one.path == "event.eventName" for name in one.comparison.compared_with}
    if not events or not events <= OUTCOME_EVENTS:
        return ""
    for literal in wanted:
        names = known.get(literal.path)
        if names is not None and not any(map(compile_comparison(literal.comparison), names)):
            written = str(literal.comparison.compared_with[0])
            kind = _NAMES[literal.path].kind_name
            return f"there is no {kind} {written!r}{nearest(written, names)}"
    return ""


RULES: tuple[Rule, ...] = (outcome_of_nothing,)
