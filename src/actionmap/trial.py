"""A webhook tried out: rendered with a visitor's values or with samples, and sent when asked; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

import msgspec

from actionmap.catalog.compile import fields_in_url
from actionmap.catalog.contracts import properties_of
from actionmap.catalog.mappings import Field, NoValue, compile_mappings, converted
from actionmap.catalog.models import DataAction, Definition, Integration, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.paths import Scope
from actionmap.catalog.rendering import request_of
from actionmap.catalog.rulebook import CompiledWebhook, Rulebook
from actionmap.catalog.samples import ACTION_MAP, fitting, samples
from actionmap.catalog.templates import Values
from actionmap.decide.render import envelope, with_request
from actionmap.deliver.dispatch import Sender
from actionmap.deliver.egress import BLOCKED
from actionmap.deliver.sign import header_names
from actionmap.delivery import Attempt, DeadLetter, Delivery
from actionmap.errors import NotFound, Unrenderable
from actionmap.simulate import MASK, firing


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


def new_id() -> str:
    """An id for a delivery that is only tried out."""
    return f"am1_test{uuid4().hex}"


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
    if scope is None:
        sources = _sampled(compiled, fields, action, integration, id_)
    else:
        own = scope.for_delivery(ACTION_MAP, 1, id_)
        sources = tuple(_source(field, own) for field in fields)
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


def _sampled(
    compiled: CompiledWebhook, fields: Sequence[Field], action: DataAction, integration: Integration, id_: str
) -> tuple[Source, ...]:
    """A sample for every lookup, so that a request can be made of them where that is possible."""
    properties = properties_of(action.contract)
    possible = {field.name: samples(field, properties[field.name], id_) for field in fields}
    values, _ = fitting(possible, fields_in_url(action, integration), lambda made: _renders(compiled, made, id_))
    return tuple(
        Source(field.name, field.lookup or None, "static" if field.read is None else "sample", values[field.name])
        for field in fields
    )


def _renders(compiled: CompiledWebhook, values: Values, id_: str) -> bool:
    try:
        request_of(compiled, values, id_)
    except (Unrenderable, UnicodeEncodeError):
        return False
    return True


def _source(field: Field, scope: Scope) -> Source:
    if field.read is None:
        return Source(field.name, None, "static", field.value)
    try:
        return Source(field.name, field.lookup, "looked-up", converted(field.read(scope), field.type))
    except NoValue as why:
        value = field.value if field.when_missing in ("default", "sendNull") else None
        return Source(field.name, field.lookup, "missing", value, str(why), field.when_missing)


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
