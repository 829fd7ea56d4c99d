"""Updates that may name no record: receivers make a new one of those, or write into the wrong one."""

from __future__ import annotations

from collections.abc import Iterator

from actionmap.catalog.lint.ruleset import Rule, Ruleset, finding
from actionmap.catalog.models import DataAction, Webhook
from actionmap.catalog.templates import used_fields
from actionmap.errors import Finding

_UPDATES = frozenset({"PUT", "PATCH"})
#: Paths that always have a value, and tell one record from another.
_ALWAYS_THERE = frozenset({"visitor.id", "session.id", "event.eventId", "delivery.id"})


def update_without_identifier(rules: Ruleset) -> Iterator[Finding]:
    """A webhook that updates a record, and has no looked-up identifier that must be there."""
    for webhook in rules.webhooks:
        action = rules.data_action_of(webhook)
        if webhook.state == "archived" or action.request.method not in _UPDATES:
            continue
        looked_up = [name for name in _identifiers(action) if webhook.mappings[name].lookup is not None]
        if looked_up and not any(_must_be_there(webhook, name) for name in looked_up):
            yield finding(
                webhook,
                f"mappings.{looked_up[0]}",
                f"{action.request.method} updates a record, and none of {', '.join(looked_up)} has to be there to say "
                "which; give the one that does onMissing: skip",
            )


def _identifiers(action: DataAction) -> list[str]:
    """The fields that may say which record is meant: those of path and params, else those of the body, in order."""
    fields, request = list(action.contract.input.get("properties", {})), action.request
    named = used_fields([request.path, request.params], fields)
    if not named:
        named = set(fields) if request.body is None else used_fields(request.body, fields)
    return [name for name in fields if name in named]


def _must_be_there(webhook: Webhook, name: str) -> bool:
    mapping = webhook.mappings[name]
    return mapping.when_missing == "skip" or mapping.lookup in _ALWAYS_THERE


RULES: tuple[Rule, ...] = (update_without_identifier,)
