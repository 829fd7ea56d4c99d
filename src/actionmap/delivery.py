"""Delivery: one rendered request owed to one integration; Attempt: one try of it."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct

#: What the erasure of a visitor fires outlives it, and every later one.
SURVIVES_ALL = 2**53 - 1


class RetryPolicy(Struct, frozen=True, omit_defaults=True, gc=False):
    """When a failed attempt is repeated."""

    #: Tries in all, at least 1.
    attempts: int = 8
    #: Seconds to wait after the first, second, … failed attempt; empty: exponential. The last one repeats.
    schedule: tuple[int, ...] = ()
    #: Seconds after which a delivery is given up, whatever is left of its attempts.
    max_age_s: int = 3 * 86_400


class Capture(Struct, frozen=True, omit_defaults=True, gc=False):
    """What is taken out of the answer to a delivery, and what is set when it is given up."""

    #: Visitor variable, or trait → JSONPath or dot path into the answer.
    variables: dict[str, str] = {}
    traits: dict[str, str] = {}
    #: Visitor variable → its value when the delivery is given up.
    on_failure: dict[str, Any] = {}

    @property
    def reads_answer(self) -> bool:
        """Whether anything is taken out of the answer."""
        return bool(self.variables or self.traits)


class AttemptRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """What people are told of one attempt. Nothing of any body, unless the webhook asks for it."""

    #: When it began, in milliseconds since 1970.
    at: int
    #: ``delivered``, ``retry`` or ``dead``.
    outcome: str
    #: HTTP status; None when no answer came.
    status: int | None = None
    #: Why it was no success, in words for people; holds no secret.
    error: str | None = None
    duration_s: float = 0.0
    #: Bytes of the request's body, and of the answer's as far as it was read.
    request_bytes: int = 0
    response_bytes: int = 0
    #: When the next one follows, in milliseconds since 1970; None when none does.
    next_try_at: int | None = None
    #: The beginning of the answer's body, without secrets (``logResponseBody``); None when it is not kept.
    response_body: str | None = None


class Delivery(Struct, frozen=True, omit_defaults=True, gc=False):
    """One rendered request owed to one integration.

    It holds everything but the integration's own part (base URL, authentication, signature), which is added at
    each attempt: so a rotated credential reaches deliveries already owed, and no credential is ever stored here.
    """

    #: The same at every attempt; receivers see it as ``webhook-id`` and ``Idempotency-Key``.
    id: str
    integration: str
    webhook: str
    action_map: str
    visitor_id: str
    event_id: str
    #: Event time, or the timer's due time, in milliseconds since 1970.
    at: int
    #: When the record that caused it entered Kafka, in milliseconds since 1970; its age counts from here.
    owed_at: int
    method: str
    #: Path and query, relative to the integration's base URL.
    target: str
    headers: dict[str, str] = {}
    body: str | None = None
    timeout_s: float = 5.0
    #: Statuses that mean success: ``2xx`` or ``200``.
    success_statuses: tuple[str, ...] = ("2xx",)
    idempotency_header: str = "Idempotency-Key"
    retry: RetryPolicy = RetryPolicy()
    capture: Capture = Capture()
    #: The visitor's later deliveries wait until the first attempt has ended.
    is_sync: bool = False
    #: The visitor's later deliveries of this kind to the same integration wait until this one is settled.
    is_strict: bool = False
    #: How many deliveries led to it, each by its outcome.
    depth: int = 0
    #: How many attempts were made.
    attempts: int = 0
    #: What the last attempt ended with, for people.
    last_error: str | None = None
    #: Values that the integration's base URL is filled with at each attempt; ``@name`` is one for its host.
    context: dict[str, str] = {}
    #: Whether people are shown its body once it is settled (``logRequestBody``), and those of its answers.
    logs_request: bool = False
    logs_response: bool = False
    #: Its attempts, the newest last, as many as are kept.
    log: tuple[AttemptRecord, ...] = ()
    #: The versions of the map, the webhook and the data action that made it; empty where they were not noted.
    versions: tuple[int, ...] = ()
    #: The partition's erasures of visitors up to this number came before it, so they leave it owed (`Fence.erasures`).
    survives: int = 0

    @property
    def is_ordered(self) -> bool:
        """Whether others wait for it, or it may wait for others."""
        return self.is_sync or self.is_strict


class Attempt(Struct, frozen=True, gc=False):
    """One try of a delivery, and what follows from it."""

    outcome: Literal["delivered", "retry", "dead"]
    #: HTTP status; None when no response came.
    status: int | None = None
    #: Why it was no success, in words for people; holds no secret.
    error: str | None = None
    #: Seconds the receiver asked us to wait (``Retry-After``).
    retry_after_s: float | None = None
    duration_s: float = 0.0
    #: The fault is ours (a secret is missing, …): it says nothing of the receiver.
    is_ours: bool = False
    #: The egress guard let nothing out.
    is_blocked: bool = False
    #: Bytes of the answer's body, as far as it was read.
    response_bytes: int = 0
    #: Of the answer, without secrets, where the delivery logs it: some headers, and the beginning of the body.
    response_headers: dict[str, str] = {}
    response_body: str | None = None
    #: What was taken out of the answer (`Capture`), by name.
    variables: dict[str, Any] = {}
    traits: dict[str, Any] = {}


class DeadLetter(Struct, frozen=True, omit_defaults=True, gc=False):
    """A record never understood, or a delivery given up: kept, listed, replayable."""

    #: ``topic/partition/offset`` of a record; the id of a delivery.
    id: str
    kind: Literal["record", "delivery"]
    #: A fixed word, e.g. ``malformed-json``.
    reason: str
    detail: str
    #: Milliseconds since 1970.
    at: int
    #: The record's key and value as text, undecodable bytes replaced, the value cut at 4 KB (Kafka keeps the whole).
    key: str | None = None
    value: str | None = None
    delivery: Delivery | None = None
    #: The maps that broke on the record, all others having judged it.
    action_maps: tuple[str, ...] = ()
    #: Where the record was first, when this is one that was replayed.
    replay_of: str | None = None
    #: False for a delivery whose request could not be built: there is nothing to be sent.
    was_rendered: bool = True
    #: Of a record, what `Delivery.survives` is of a delivery.
    survives: int = 0


class Outcome(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a delivery ended with, on its way back to its visitor as a reserved event."""

    #: ``webhook_succeeded`` or ``webhook_failed``.
    name: str
    visitor_id: str
    delivery_id: str
    webhook: str
    action_map: str
    #: Wall clock, in milliseconds since 1970.
    at: int
    #: HTTP status of the last attempt; None when no answer came.
    status: int | None = None
    variables: dict[str, Any] = {}
    traits: dict[str, Any] = {}
    #: How many deliveries led to it, each by its outcome; at least 1.
    depth: int = 1
    #: As its delivery's.
    survives: int = 0


def is_erased(what: Delivery | DeadLetter | Outcome, erased: Mapping[str, int]) -> bool:
    """Whether ``what`` goes with the visitors that were ``erased`` (id → number of the erasure)."""
    one = what.delivery if isinstance(what, DeadLetter) and what.delivery is not None else what
    visitor_id = one.key if isinstance(one, DeadLetter) else one.visitor_id
    return one.survives < erased.get(visitor_id or "", 0)


#: Attempts of a delivery that are kept.
MOST_LOGGED = 20
#: Characters that are kept of a body for people.
MOST_OF_BODY = 4096


def with_attempt(delivery: Delivery, attempt: Attempt, *, began_at: int, next_try_at: int | None = None) -> Delivery:
    """``delivery`` with ``attempt`` counted and at the end of its log.

    Args:
        delivery: As it was before.
        attempt: Its ``outcome`` is what became of the delivery.
        began_at: When it began, in milliseconds since 1970.
        next_try_at: When the next one follows; None when none does.
    """
    record = AttemptRecord(
        began_at, attempt.outcome, attempt.status, attempt.error, round(attempt.duration_s, 4),
        len((delivery.body or "").encode("utf-8", "surrogatepass")), attempt.response_bytes, next_try_at,
        attempt.response_body if delivery.logs_response else None,
    )  # fmt: skip
    log = (*delivery.log[1 - MOST_LOGGED :], record)
    return msgspec.structs.replace(delivery, attempts=delivery.attempts + 1, last_error=attempt.error, log=log)


def for_journal(delivery: Delivery) -> Delivery:
    """``delivery``, accepted, as it is kept for people: without its body, or with its beginning where it logs that."""
    kept = delivery.body[:MOST_OF_BODY] if delivery.body is not None and delivery.logs_request else None
    return msgspec.structs.replace(delivery, body=kept)


#: Outcomes by delivery id.
Outcomes = Mapping[str, Outcome]


def outcome_of(
    delivery: Delivery,
    name: str,
    at: int,
    status: int | None = None,
    variables: dict[str, Any] | None = None,
    traits: dict[str, Any] | None = None,
) -> Outcome:
    """What ``delivery`` ended with at ``at``; one given up sets the variables of ``onFailure``."""
    known = delivery.capture.on_failure if name == "webhook_failed" else variables or {}
    return Outcome(name, delivery.visitor_id, delivery.id, delivery.webhook, delivery.action_map, at, status,
                   known, traits or {}, delivery.depth + 1, delivery.survives)  # fmt: skip


def delivery_id(
    company: str, action_map: str, webhook: str, visitor_id: str, event_id: str, occurrence: int = 0
) -> str:
    """The id of a delivery: a hash of what caused it, never of versions, so a replay after an edit keeps it.

    Args:
        company: The company the definitions belong to.
        action_map: Name of the map that fired.
        webhook: Name of its webhook.
        visitor_id: The visitor.
        event_id: The triggering event.
        occurrence: 0, or the number of the timer among those that start from one event.

    Returns:
        ``am1_`` and 32 characters of base32, without a dot (Standard Webhooks reserves it).
    """
    digest = sha256(msgspec.json.encode((company, action_map, webhook, visitor_id, event_id, occurrence))).digest()
    return "am1_" + b32encode(digest)[:32].decode().lower()


_encoder = msgspec.json.Encoder()
_delivery_decoder = msgspec.json.Decoder(Delivery)
_dead_letter_decoder = msgspec.json.Decoder(DeadLetter)
_outcome_decoder = msgspec.json.Decoder(Outcome)


def encode(value: Delivery | DeadLetter | Outcome) -> bytes:
    """The stored form of ``value``: UTF-8 JSON."""
    return _encoder.encode(value)


def decode_delivery(stored: bytes) -> Delivery:
    """The delivery that `encode` wrote."""
    return _delivery_decoder.decode(stored)


def decode_dead_letter(stored: bytes) -> DeadLetter:
    """The dead letter that `encode` wrote."""
    return _dead_letter_decoder.decode(stored)


def decode_outcome(stored: bytes) -> Outcome:
    """The outcome that `encode` wrote."""
    return _outcome_decoder.decode(stored)
