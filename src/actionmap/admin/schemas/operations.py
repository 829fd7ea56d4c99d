"""How the installation is doing, as REST answers it: health, status, integrations, API keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from actionmap.admin.schemas import EXAMPLE_TIME, Asked, Moment, Shown
from actionmap.deliver.reported import ReportedState

MAX_REASON = 200


class ShownHealth(Shown):
    """How one process is doing."""

    status: Literal["ready", "not ready"]
    """Whether it can do its work."""
    problems: list[str]
    """What is wrong, in words for people; empty when ready."""
    durability: str
    """What the store promises to keep, in words."""
    missing_guarantees: list[str]
    """Promises that cannot be kept with this store."""
    revision: int
    """Revision of the definitions in use."""
    active_maps: int
    """How many active action maps they hold."""
    lag: dict[str, int]
    """Records that are not evaluated yet, by partition of this process."""


class Alive(Shown):
    """The process answers."""

    status: Literal["alive"]
    """Always the same."""


class ShownHalt(Shown):
    """Why a partition stopped."""

    reason: str
    """A fixed word."""
    detail: str
    """In words for people, with what to do."""
    at: Moment
    """Since when."""


class ShownPartition(Shown):
    """How far one partition is."""

    partition: int
    """Its number."""
    offset: int
    """The last record whose effects are stored; -1 for none."""
    owner: str
    """The worker that has it."""
    revision: int
    """Revision of the definitions that the last batch was judged by."""
    stream_time: Moment | None
    """How far it is in event time."""
    lag: int | None
    """Records that are not evaluated yet; null where Kafka does not tell."""
    outbox: int
    """Deliveries that are owed."""
    outbox_by_integration: dict[str, int]
    """Of these, by integration."""
    parked_by_integration: dict[str, int]
    """Deliveries that were set aside in Kafka, by integration."""
    halted: ShownHalt | None
    """Why it stopped; null while it goes on."""


class ShownReported(Shown):
    """What an integration is, whatever it is meant to be."""

    state: ReportedState
    """`activating`: nothing has reached it yet as it is now."""
    detail: str | None
    """In words for people."""
    since: Moment | None
    """Since when; null where that is not known."""


class ShownIntegrationState(Shown):
    """How one integration is doing."""

    name: str
    """The integration."""
    active: bool
    """As its definition says."""
    intended_state: Literal["active", "inactive"]
    """What it is meant to be."""
    reported_state: ShownReported
    """What it is."""
    held: Literal["paused", "disabled"] | None
    """Why its deliveries are held: by a person, or because it failed for days."""
    held_since: Moment | None
    """Since when."""
    reason: str | None
    """In words for people."""
    failing_since: Moment | None
    """The first failure after the last success."""
    last_error: str | None
    """The last failure."""
    warning: str | None
    """What people should look at, though deliveries go on."""
    probed_at: Moment | None
    """When it was connected to last, without sending it anything."""
    breakers: dict[str, str]
    """Worker → state of its breaker, where that is not closed."""


class ShownStatus(ShownHealth):
    """Health, and how far each partition and each integration is."""

    partitions: list[ShownPartition]
    """Those that were ever claimed."""
    integrations: list[ShownIntegrationState]
    """All of them."""


class ResumePolicy(Asked):
    """How a halted partition is to go on."""

    policy: Literal["continue", "rebuild"]
    """With what it remembers of its visitors, or after forgetting them."""


class Resumed(Shown):
    """What a partition was told."""

    partition: int
    """Its number."""
    policy: Literal["continue", "rebuild"]
    """How it goes on, within seconds."""


class Pause(Asked):
    """Why an integration is paused."""

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""
    """In words for people."""


class ShownKey(Shown):
    """An API key that was made here, without the key itself."""

    name: str
    """Its name."""
    rights: list[Literal["ingest", "read", "edit", "publish"]]
    """What it may do."""
    company: str | None
    """Whose definitions it may see and change; null: of all."""
    created_at: Moment
    """When it was made."""
    created_by: str | None
    """The API key that made it."""


class MadeKey(ShownKey):
    """An API key, and this once the key itself."""

    key: str
    """What is sent as a bearer token; it is kept as a hash alone."""


class KeyList(Shown):
    """API keys."""

    items: list[ShownKey]
    """By name."""


HEALTH: dict[str, Any] = {
    "status": "ready", "problems": [], "durability": "always: …", "missingGuarantees": [], "revision": 17,
    "activeMaps": 2, "lag": {"0": 0},
}  # fmt: skip
INTEGRATION_STATE: dict[str, Any] = {
    "name": "crm", "active": True, "intendedState": "active",
    "reportedState": {"state": "active", "detail": None, "since": EXAMPLE_TIME}, "held": None, "heldSince": None,
    "reason": None, "failingSince": None, "lastError": None, "warning": None, "probedAt": EXAMPLE_TIME, "breakers": {},
}  # fmt: skip
STATUS: dict[str, Any] = {
    **HEALTH,
    "partitions": [{
        "partition": 0, "offset": 41, "owner": "worker-1", "revision": 17, "streamTime": EXAMPLE_TIME, "lag": 0,
        "outbox": 1, "outboxByIntegration": {"crm": 1}, "parkedByIntegration": {}, "halted": None,
    }],
    "integrations": [INTEGRATION_STATE],
}  # fmt: skip
KEY: dict[str, Any] = {
    "name": "deploy-pipeline", "rights": ["edit", "read"], "company": None, "createdAt": EXAMPLE_TIME,
    "createdBy": "admin",
}  # fmt: skip
