"""How each integration is doing, as all workers and people share it: paused or not, failing since when, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from actionmap.store.connection import Connection


class Hold(Struct, frozen=True, omit_defaults=True):
    """Why the deliveries of an integration are held."""

    #: ``paused`` by a person, or ``disabled`` because it failed for days.
    kind: Literal["paused", "disabled"]
    #: In milliseconds since 1970.
    since: int
    #: In words for people.
    reason: str = ""


class IntegrationHealth(Struct, frozen=True, omit_defaults=True):
    """How one integration is doing, going by its attempts. Times in milliseconds since 1970."""

    #: The first failure after the last success, the newest one that was noted, what it was, and on how many days.
    failing_since: int | None = None
    last_failure: int | None = None
    last_error: str = ""
    days: int = 0
    #: Something people should look at, though deliveries go on.
    warning: str = ""
    #: As what it failed last, and as what it succeeded since when; see `edition_of`.
    failed_as: str = ""
    proven_as: str = ""
    proven_at: int = 0


class Probed(Struct, frozen=True, omit_defaults=True):
    """What came of connecting to an integration without sending anything."""

    #: In milliseconds since 1970.
    at: int
    #: What was probed; see `edition_of`.
    edition: str
    #: Why it cannot be reached, in words for people; "" when it can.
    problem: str = ""


class IntegrationState(NamedTuple):
    """What is known of one integration beside its definition."""

    hold: Hold | None = None
    health: IntegrationHealth = IntegrationHealth()
    probed: Probed | None = None


#: What is known of an integration that nothing was ever noted of.
UNKNOWN = IntegrationState()


class IntegrationStore(Protocol):
    """The states, and the rates that all workers share."""

    async def states(self) -> dict[str, IntegrationState]:
        """By name, the states of all integrations that anything was noted of."""

    async def hold(self, name: str, hold: Hold) -> bool:
        """Hold the integration; ``disabled`` never takes the place of another hold. Whether it is held so."""

    async def release(self, name: str) -> None:
        """Hold the integration no more, and forget its failures, its warning and what is known of its successes."""

    async def note(self, name: str, health: IntegrationHealth) -> None:
        """Keep ``health`` in place of what was known; the last one to write wins."""

    async def note_probe(self, name: str, probed: Probed) -> None:
        """Keep what came of the last probe."""

    async def reserve(self, name: str, number: int, rate: float) -> int:
        """Take ``number`` requests off what may be sent to ``name`` at ``rate`` a second.

        Returns:
            In how many milliseconds the first of them may go; the others follow at the rate.
        """

    async def report_breakers(self, worker: str, states: Mapping[str, str]) -> None:
        """What ``worker`` says of the breakers that are not closed; forgotten after ten seconds."""

    async def breakers(self) -> dict[str, dict[str, str]]:
        """Worker → integration → state of its breaker, where that is not closed."""


#: How long a worker's report of its breakers counts.
REPORTED_MS = 10_000
_hold_decoder, _health_decoder = msgspec.json.Decoder(Hold), msgspec.json.Decoder(IntegrationHealth)
_probed_decoder = msgspec.json.Decoder(Probed)


class RedisIntegrations:
    """In Redis or Valkey: one slot for all integrations, apart from those of the partitions."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{{integrations}}:{name}"

    async def states(self) -> dict[str, IntegrationState]:
        async with self._connection.translated():
            holds = await self._connection.client.hgetall(self._key("h"))
            health = await self._connection.client.hgetall(self._key("s"))
            probed = await self._connection.client.hgetall(self._key("p"))
        return {
            name.decode(): IntegrationState(
                _hold_decoder.decode(holds[name]) if name in holds else None,
                _health_decoder.decode(health[name]) if name in health else IntegrationHealth(),
                _probed_decoder.decode(probed[name]) if name in probed else None,
            )
            for name in holds.keys() | health.keys() | probed.keys()
        }

    async def hold(self, name: str, hold: Hold) -> bool:
        asks = int(hold.kind == "disabled")
        keys = [self._key("h"), self._key("s"), self._key("p")]
        return bool(await self._connection.call("hold", keys, [name, msgspec.json.encode(hold), asks]) or not asks)

    async def release(self, name: str) -> None:
        await self._connection.call("hold", [self._key("h"), self._key("s"), self._key("p")], [name, "", 0])

    async def note(self, name: str, health: IntegrationHealth) -> None:
        known = "" if health == IntegrationHealth() else msgspec.json.encode(health)
        await self._connection.call("note", [self._key("s")], [name, known])

    async def note_probe(self, name: str, probed: Probed) -> None:
        await self._connection.call("note", [self._key("p")], [name, msgspec.json.encode(probed)])

    async def reserve(self, name: str, number: int, rate: float) -> int:
        return int(await self._connection.call("reserve", [self._key(f"r:{name}")], [number, rate]))

    async def report_breakers(self, worker: str, states: Mapping[str, str]) -> None:
        report = msgspec.json.encode(dict(states))
        await self._connection.call("report", [self._key("b")], [worker, report, REPORTED_MS])

    async def breakers(self) -> dict[str, dict[str, str]]:
        flat = await self._connection.call("reports", [self._key("b")], [REPORTED_MS])
        return {
            worker.decode(): msgspec.json.decode(states) for worker, states in zip(flat[::2], flat[1::2], strict=True)
        }


class MemoryIntegrations:
    """The in-memory twin: one process, whose workers share nothing with others; every rate is granted at once."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._health: dict[str, IntegrationHealth] = {}
        self._probed: dict[str, Probed] = {}
        self._breakers: dict[str, dict[str, str]] = {}

    async def states(self) -> dict[str, IntegrationState]:
        return {
            name: IntegrationState(
                self._holds.get(name), self._health.get(name, IntegrationHealth()), self._probed.get(name)
            )
            for name in self._holds.keys() | self._health.keys() | self._probed.keys()
        }

    async def hold(self, name: str, hold: Hold) -> bool:
        if hold.kind == "disabled" and (name in self._holds or name not in self._health):
            return False
        self._holds[name] = hold
        return True

    async def release(self, name: str) -> None:
        self._holds.pop(name, None)
        self._health.pop(name, None)
        self._probed.pop(name, None)

    async def note(self, name: str, health: IntegrationHealth) -> None:
        self._health[name] = health

    async def note_probe(self, name: str, probed: Probed) -> None:
        self._probed[name] = probed

    async def reserve(self, name: str, number: int, rate: float) -> int:
        return 0

    async def report_breakers(self, worker: str, states: Mapping[str, str]) -> None:
        self._breakers[worker] = dict(states)

    async def breakers(self) -> dict[str, dict[str, str]]:
        return {worker: states for worker, states in self._breakers.items() if states}
