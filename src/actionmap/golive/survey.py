"""Asks the running system what the checks want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from actionmap.catalog.addresses import Network
from actionmap.catalog.models import Integration
from actionmap.deliver.probe import Prober
from actionmap.deliver.reported import Editions, Reported, reported
from actionmap.errors import Unreachable
from actionmap.golive.around import Consumption, Surroundings
from actionmap.golive.chain import counted_lookups, destinations, origins_of
from actionmap.golive.check import GoLive
from actionmap.golive.every import check_each
from actionmap.process import wall_clock
from actionmap.registry import Registry
from actionmap.store.integrations import UNKNOWN, IntegrationState, Probed
from actionmap.store.protocols import Store

#: Probes under way at a time.
_PROBES = 16
#: After this, an integration that could not be reached is probed again by itself.
_PROBED_AGAIN_MS = 10 * 60_000
#: Why nobody could probe an integration.
_NO_HOST = "its host depends on the webhook, and none of its webhooks is published; publish one, and its data action"

#: Asks Kafka where the log of each partition ends, and how many consumers there are (None: it does not tell).
AskLogEnds = Callable[[], Awaitable[Mapping[int, int]]]
AskMembers = Callable[[], Awaitable[int | None]]
Destinations = Mapping[tuple[str, str], Integration]


class Survey:
    """What the go-live checks of one server ask.

    Args:
        registry: The definitions.
        store: Where all else is kept.
        partitions: How many the events topic has.
        log_ends: Asks Kafka; raises Unreachable.
        members: Asks Kafka.
        prober: Connects to receivers.
        secret_is_set: Whether the environment holds a secret.
        egress_hosts: What is allowed although private.
        egress_networks: Networks likewise.
        clock: Milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        store: Store,
        partitions: int,
        log_ends: AskLogEnds,
        members: AskMembers,
        prober: Prober,
        secret_is_set: Callable[[str], bool],
        egress_hosts: Collection[str] = (),
        egress_networks: tuple[Network, ...] = (),
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.registry = registry
        self.edition = Editions(registry)
        self._store = store
        self._partitions = partitions
        self._log_ends = log_ends
        self._members = members
        self._prober = prober
        self._secret_is_set = secret_is_set
        self._egress_hosts = egress_hosts
        self._egress_networks = egress_networks
        self._clock = clock

    async def check(self, names: Sequence[str], places: Destinations | None = None) -> list[GoLive]:
        """Check the action maps ``names``.

        Args:
            names: The maps.
            places: Where to connect (`destinations`); None: nowhere.

        Raises:
            NotFound: there is no such map.
            Unreachable: the store does not answer.
        """
        definitions, parts = self.registry.definitions, self.registry.rulebook.parts
        probes = None if places is None else await self._probe(places)
        wanted = await asyncio.to_thread(counted_lookups, definitions, names)
        around = await self.around(lookups=wanted, probes=probes)
        return await asyncio.to_thread(lambda: list(check_each(definitions, names, around, parts)))

    async def around(
        self, *, lookups: Sequence[str] | None, probes: Mapping[tuple[str, str], str] | None = None
    ) -> Surroundings:
        """What is known of the running system.

        Args:
            lookups: What to tell of how often lookups had no value; None: nothing.
            probes: What came of probing.

        Raises:
            Unreachable: the store does not answer.
        """
        now, store = self._clock(), self._store
        return Surroundings(
            now=now,
            egress_hosts=self._egress_hosts,
            egress_networks=self._egress_networks,
            secret_is_set=self._secret_is_set,
            opens_secret=self.registry.opens_secret,
            guarantees=await store.guarantees(),
            lookups=None if lookups is None else await store.lookups.counts(lookups, now=now),
            integrations=await store.integrations.states(),
            edition=self.edition,
            breakers=await store.integrations.breakers(),
            drafts=frozenset(key for key, entry in self.registry.entries.items() if entry.has_newer_draft),
            probes=probes,
            consumption=await self._consumption(),
        )

    async def _consumption(self) -> Consumption:
        try:
            ends, members = await asyncio.gather(self._log_ends(), self._members())
        except Unreachable as error:
            return Consumption(problem=str(error))
        fences = await self._store.fences(self._partitions)
        return Consumption(
            members=members,
            lag=sum(max(0, ends.get(number, 0) - fence.offset - 1) for number, fence in enumerate(fences)),
            halted={number: fence.halted.detail for number, fence in enumerate(fences) if fence.halted is not None},
        )

    # --- probes

    async def probe(self, integration: Integration) -> Reported:
        """Connect to ``integration``, note what came of it, and tell how it is then.

        Raises:
            Unreachable: the store does not answer.
        """
        origins = await asyncio.to_thread(origins_of, self.registry.definitions, integration)
        if origins:
            await self._probe({(integration.name, origin): integration for origin in origins})
        else:
            await self._note(integration.name, _NO_HOST)
        state = (await self._store.integrations.states()).get(integration.name, UNKNOWN)
        return reported(state, active=integration.active, edition=self.edition(integration.name))

    async def probe_untried(self, names: Iterable[str]) -> None:
        """Connect to what the action maps ``names`` lead to and nothing has reached yet, or could not for a while.

        Raises:
            Unreachable: the store does not answer.
        """
        places = await asyncio.to_thread(destinations, self.registry.definitions, names)
        states = await self._store.integrations.states()
        await self._probe({key: one for key, one in places.items() if self._is_untried(one, states)})

    def _is_untried(self, integration: Integration, states: Mapping[str, IntegrationState]) -> bool:
        state = states.get(integration.name, UNKNOWN)
        is_ = reported(state, active=integration.active, edition=self.edition(integration.name))
        if is_.state != "error" or state.probed is None:
            return is_.state == "activating"
        not_reached = state.probed.problem != "" and is_.since == state.probed.at
        was_long_ago = self._clock() - state.probed.at >= _PROBED_AGAIN_MS
        # Somebody has tried it when there was no host yet; what leads to it now has one.
        return not_reached and (was_long_ago or state.probed.problem == _NO_HOST)

    async def _probe(self, places: Destinations) -> dict[tuple[str, str], str]:
        """What came of probing ``places``, which is noted for each integration."""
        turns = asyncio.Semaphore(_PROBES)

        async def one(key: tuple[str, str]) -> str:
            async with turns:
                return await self._prober.probe(places[key], key[1])

        problems = dict(zip(places, await asyncio.gather(*map(one, places)), strict=True))
        for name in {name for name, _ in places}:
            await self._note(name, next((why for (other, _), why in problems.items() if other == name and why), ""))
        return problems

    async def _note(self, name: str, problem: str) -> None:
        probed = Probed(self._clock(), self.edition(name), problem[:300])
        await self._store.integrations.note_probe(name, probed)
