"""A webhook tried out: rendered with a visitor's values or with samples, and sent when asked; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from actionmap.catalog.mappings import Field, NoValue, compile_mappings, converted
from actionmap.catalog.models import DataAction, Definition, Integration, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope
from actionmap.catalog.rulebook import Rulebook
from actionmap.decide.render import envelope, with_request
from actionmap.deliver.dispatch import Sender
from actionmap.deliver.sign import header_names
from actionmap.delivery import Attempt, DeadLetter, Delivery
from actionmap.errors import NotFound
from actionmap.simulate import MASK, firing

#: Stands for the action map that would fire.
ACTION_MAP = "webhooks-test"
#: What every blocked target is answered with: neither what its name resolves to, nor whether anything listens there,
#: nor how long it took to find out is told to who may not reach it.
BLOCKED = "blocked: the egress guard lets nothing out to this address; ACTIONMAP_EGRESS_ALLOW names exceptions"
_BY_TYPE: dict[str, Any] = {"string": "sample", "integer": 1, "number": 1.5, "boolean": True}
_BY_FORMAT = {
    "email": "visitor@example.com", "date": "2026-11-21", "date-time": "2026-11-21T19:15:00Z", "time": "19:15:00Z",
    "uri": "https://example.com/", "uuid": "0190f3c2-5a00-7000-8000-000000000000", "hostname": "example.com",
    "ipv4": "203.0.113.9",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where one contract field's value came from."""

    field: str
    #: The path; None for a static value.
    lookup: str | None
    origin: Literal["static", "looked-up", "sample", "missing"]
    #: What is sent; None too where the field is left out.
    value: Any
    #: Why the lookup had no value, and what is done then; "" when it had one.
    missing: str = ""
    on_missing: str = ""

    @property
    def is_left_out(self) -> bool:
        """Whether the request does not have the field at all."""
        return self.origin == "missing" and self.on_missing == "omit"

    def as_json(self) -> dict[str, Any]:
        """The form that REST and ``--format json`` give."""
        return {"field": self.field, "lookup": self.lookup, "origin": self.origin, "value": self.value,
                "missing": self.missing, "onMissing": self.on_missing}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """A webhook, rendered."""

    webhook: Webhook
    integration: Integration
    sources: tuple[Source, ...]
    #: None when nothing would be sent; `problem` says why then.
    delivery: Delivery | None
    problem: str = ""

    def as_json(self, attempt: Attempt | None = None) -> dict[str, Any]:
        """The form that REST and ``--format json`` give; secrets are masked. ``attempt``: what sending it led to."""
        return {
            "webhook": self.webhook.name,
            "state": self.webhook.state,
            "integration": self.integration.name,
            "values": [source.as_json() for source in self.sources],
            "problem": self.problem,
            "request": None if self.delivery is None else _request_json(self.delivery, self.integration),
            "response": None if attempt is None else _response_json(attempt),
            "variables": {} if attempt is None else attempt.variables,
            "traits": {} if attempt is None else attempt.traits,
            "onFailure": {} if self.delivery is None else self.delivery.capture.on_failure,
        }


def try_out(
    definitions: Mapping[str, Definition], rulebook: Rulebook, name: str, scope: Scope | None, *, id_: str, now: int
) -> Trial:
    """The webhook ``name``, in whatever state it is, rendered.

    Args:
        definitions: A set that compiles, by key ``Kind/name``.
        rulebook: What it compiles to.
        name: The webhook.
        scope: Event, visitor and session that lookups read; None: every lookup has a sample for its value.
        id_: Of the delivery; no other has it, so that no receiver takes it for a repetition.
        now: Milliseconds since 1970.

    Raises:
        NotFound: there is no such webhook.
    """
    compiled, webhook = rulebook.parts.webhooks.get(name), definitions.get(f"Webhook/{name}")
    if compiled is None or not isinstance(webhook, Webhook):
        known = [key.removeprefix("Webhook/") for key in definitions if key.startswith("Webhook/")]
        raise NotFound(f"there is no webhook {name!r}{nearest(name, known)}")
    action, integration = definitions[f"DataAction/{webhook.data_action}"], rulebook.integrations[compiled.integration]
    assert isinstance(action, DataAction)
    fields, _ = compile_mappings(webhook, action.contract)
    own = None if scope is None else scope.for_delivery(ACTION_MAP, 1, id_)
    properties = action.contract.input.get("properties", {})
    sources = tuple(_source(field, own, properties[field.name], id_) for field in fields)
    trial = Trial(webhook, integration, sources, None, _kept_back(sources))
    if trial.problem:
        return trial
    values = {one.field: one.value for one in sources if not one.is_left_out}
    visitor_id, event_id = (scope.visitor.id, scope.event.id) if scope else ("sample", "sample")
    made = with_request(envelope(compiled, id_, ACTION_MAP, visitor_id, event_id, now, now, 0), compiled, values)
    if isinstance(made, DeadLetter):
        return replace(trial, problem=f"{made.reason}: {made.detail}")
    return replace(trial, delivery=made)


def _kept_back(sources: tuple[Source, ...]) -> str:
    """Why nothing would be sent; "" when it would."""
    missing = [one for one in sources if one.origin == "missing" and one.on_missing == "skip"]
    told = "; ".join(f"{one.field}: {one.lookup} {one.missing}" for one in missing)
    return f"nothing would be sent (onMissing: skip): {told}" if missing else ""


def _source(field: Field, scope: Scope | None, schema: Mapping[str, Any], id_: str) -> Source:
    if field.read is None:
        return Source(field.name, None, "static", field.value)
    if scope is None:
        return Source(field.name, field.lookup, "sample", _sample(field, schema, id_))
    try:
        return Source(field.name, field.lookup, "looked-up", converted(field.read(scope), field.type))
    except NoValue as why:
        value = field.value if field.when_missing in ("default", "sendNull") else None
        return Source(field.name, field.lookup, "missing", value, str(why), field.when_missing)


def _sample(field: Field, schema: Mapping[str, Any], id_: str) -> Any:
    """A value that ``field`` might have: as its contract or its mapping says, or one of its type."""
    own = {"actionMap.name": ACTION_MAP, "actionMap.version": 1, "delivery.id": id_}
    examples = schema.get("examples")
    told = [
        own.get(field.lookup), *(examples if isinstance(examples, list) else ()), schema.get("default"),
        schema.get("const"), *(schema.get("enum") or ()), field.value if field.when_missing == "default" else None,
        _BY_FORMAT.get(str(schema.get("format"))), schema.get("minimum"),
    ]  # fmt: skip
    for value in told:
        try:
            return converted(value, field.type)
        except NoValue:
            continue
    return _BY_TYPE[field.type]


async def send(trial: Trial, sender: Sender) -> Attempt | None:
    """What one attempt to send ``trial`` leads to; None when nothing would be sent.

    It goes through the guard, the limits and the timeouts of every delivery; nothing is stored, no visitor hears of it.
    """
    if trial.delivery is None:
        return None
    attempt = await sender.send(msgspec.structs.replace(trial.delivery, logs_response=True), trial.integration)
    if attempt.is_blocked:
        return Attempt("dead", error=BLOCKED, is_blocked=True)
    return attempt


def _request_json(delivery: Delivery, integration: Integration) -> dict[str, Any]:
    request: dict[str, Any] = firing(delivery, integration)["request"]
    signing = integration.signing
    request["headers"] |= dict.fromkeys(header_names(signing.scheme, signing.header), MASK)
    return request


def _response_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "durationSeconds": None if attempt.is_blocked else round(attempt.duration_s, 4),
        "bytes": attempt.response_bytes,
        "headers": attempt.response_headers,
        "body": attempt.response_body,
    }
