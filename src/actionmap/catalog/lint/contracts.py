"""What is suspicious in what webhooks send: a null where the receiver's contract requires a value."""

from __future__ import annotations

from collections.abc import Iterator

from actionmap.catalog.contracts import refusal_of, required_of
from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.errors import Finding

#: Paths that always have a value.
_ALWAYS_SET = frozenset(
    {"event.eventId", "event.eventName", "event.timestamp", "session.id", "session.createdAt",
     "session.durationInSeconds", "session.eventCount", "session.pageviewCount", "session.authenticated", "visitor.id",
     "visitor.firstSeenAt", "visitor.lastSeenAt", "visitor.sessionCount", "visitor.eventCount", "actionMap.name",
     "actionMap.version", "delivery.id"}
)  # fmt: skip


def null_where_a_value_is_required(rules: Ruleset) -> Iterator[Finding]:
    """A lookup that may have no value, is sent in any case, and stands for a field that has to have one."""
    for webhook in rules.webhooks:
        contract = rules.data_action_of(webhook).contract
        required = required_of(contract) if webhook.state != "archived" else frozenset()
        for name, mapping in webhook.mappings.items():
            if mapping.lookup is None or mapping.when_missing != "sendNull" or name not in required:
                continue
            if mapping.lookup not in _ALWAYS_SET and refusal_of(contract, name)(None):
                message = (
                    f"the contract requires a value, and null is sent when {mapping.lookup} has none; give it "
                    "onMissing: skip, or a default"
                )
                yield finding(webhook, f"mappings.{name}.lookup", message)


RULES: tuple[Rule, ...] = (null_where_a_value_is_required,)
