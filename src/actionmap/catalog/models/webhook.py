"""Webhook: the action template that maps every field of a data action's input contract."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from actionmap.catalog.models.base import Definition, Duration, Model, Name
from actionmap.catalog.models.headers import OwnHeaderName

Scalar = str | int | float | bool | None


class Mapping(Model):
    """One contract field's source: a static ``value``, or a dynamic ``lookup`` with what to do when it has no value."""

    value: Scalar = None
    """What is always sent."""
    lookup: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """The path of what is sent, such as `visitor.traits.email`."""
    on_missing: Literal["sendNull", "omit", "skip", "default"] | None = None
    """What is done when the lookup has no value: send null, leave the field out, send nothing at all, or `default`."""
    default: Scalar = None
    """What is sent when the lookup has no value."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = self.model_fields_set
        if ("value" in given) == ("lookup" in given):
            raise ValueError("give exactly one of value and lookup")
        if "value" in given and given & {"on_missing", "default"}:
            raise ValueError("onMissing and default belong to a lookup; a static value is never missing")
        if self.on_missing == "default" and "default" not in given:
            raise ValueError("onMissing: default needs default: with the value to send")
        if "default" in given and self.on_missing not in (None, "default"):
            raise ValueError(f"default: contradicts onMissing: {self.on_missing}")
        return self

    @property
    def says_when_missing(self) -> bool:
        """Whether its author says what is done without a value."""
        return bool(self.model_fields_set & {"on_missing", "default"})

    @property
    def when_missing(self) -> str:
        """``onMissing`` with its default: ``default`` where a default is given, else ``sendNull``."""
        return self.on_missing or ("default" if "default" in self.model_fields_set else "sendNull")


class Retry(Model):
    """When a failed attempt is repeated."""

    attempts: Annotated[int, Field(ge=1, le=100, description="tries in all")] = 8
    schedule: Literal["exponential"] | Annotated[tuple[Duration, ...], Field(min_length=1, strict=False)] = (
        "exponential"
    )
    """How long after each failure: doubling, or these times, the last one again and again."""
    max_age: Duration = "3d"
    """How old a delivery may become; then it is given up."""


class WebhookDelivery(Model):
    """How the webhook's requests are delivered.

    ``order: strict``: of the deliveries to one integration that are strict, a visitor's next one waits until the one
    before is accepted or given up. ``mode: sync``: all later deliveries of the visitor wait until this one's first
    attempt is answered or timed out. Nobody else waits for either.
    ``logRequestBody``, ``logResponseBody``: people are shown the beginning of what was sent, also once it was accepted,
    and of what each attempt was answered.
    """

    retry: Retry = Retry()
    """How often, and for how long, a failed attempt is repeated."""
    order: Literal["bestEffort", "strict"] = "bestEffort"
    """Whether a visitor's deliveries to one integration wait for one another."""
    mode: Literal["async", "sync"] = "async"
    """Whether the visitor's later deliveries wait for this one's first attempt."""
    idempotency_header: OwnHeaderName = "Idempotency-Key"
    """The header with the delivery's id, which stays the same in every attempt."""
    log_request_body: bool = False
    """Show people what was sent, also once it was accepted."""
    log_response_body: bool = False
    """Show people what each attempt was answered."""


class Webhook(Definition):
    """The action template: a data action and a mapping for every field of its input contract."""

    kind_name: ClassVar[str] = "Webhook"

    data_action: Name
    """What is sent."""
    state: Literal["draft", "published", "archived"] = "draft"
    """Only a published one is ever sent; an archived one is no more."""
    mappings: dict[str, Mapping] = {}
    """Where the value of each field of the input contract comes from."""
    delivery: WebhookDelivery = WebhookDelivery()
    """How its requests are delivered."""
