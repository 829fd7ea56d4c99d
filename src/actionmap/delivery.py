"""Delivery: one rendered request owed to one integration; Attempt: one try of it."""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Struct


class RetryPolicy(Struct, frozen=True, omit_defaults=True, gc=False):
    """When a failed attempt is repeated."""

    #: Tries in all, at least 1.
    attempts: int = 8
    #: Seconds to wait after the first, second, … failed attempt; empty: exponential. The last one repeats.
    schedule: tuple[int, ...] = ()
    #: Seconds after which a delivery is given up, whatever is left of its attempts.
    max_age_s: int = 3 * 86_400


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
    #: How many attempts were made.
    attempts: int = 0
    #: What the last attempt ended with, for people.
    last_error: str | None = None


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


def encode(value: Delivery | DeadLetter) -> bytes:
    """The stored form of ``value``: UTF-8 JSON."""
    return _encoder.encode(value)


def decode_delivery(stored: bytes) -> Delivery:
    """The delivery that `encode` wrote."""
    return _delivery_decoder.decode(stored)


def decode_dead_letter(stored: bytes) -> DeadLetter:
    """The dead letter that `encode` wrote."""
    return _dead_letter_decoder.decode(stored)
