"""What the checks know beside the definitions; None stands for what only a running system could tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from actionmap.catalog.addresses import Network
from actionmap.store.durability import Guarantees
from actionmap.store.integrations import IntegrationState
from actionmap.store.lookups import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """Who evaluates the events, and how far that is."""

    #: Why that is not known, in words for people; "" when it is.
    problem: str = ""
    #: How many workers consume; None where the broker does not tell.
    members: int | None = None
    #: Records that are not evaluated yet, in all partitions.
    lag: int = 0
    #: Why partitions are halted, by number.
    halted: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of the running system."""

    #: Milliseconds since 1970.
    now: int
    egress_hosts: Collection[str] = ()
    egress_networks: tuple[Network, ...] = ()
    #: Whether the environment variable of a secret is set.
    secret_is_set: Callable[[str], bool] | None = None
    #: Whether a key opens a secret that is stored.
    opens_secret: Callable[[str], bool] | None = None
    #: What the store promises to keep.
    guarantees: Guarantees | None = None
    #: How often maps have made their lookups in the last seven days, and these had no value (`mappings.counted_as`).
    lookups: Mapping[str, Count] | None = None
    #: What was noted of integrations, by name, and which edition of each is in force (`reported.edition_of`).
    integrations: Mapping[str, IntegrationState] | None = None
    edition: Callable[[str], str] = lambda _: ""
    #: Worker → integration → state of its breaker, where that is not closed.
    breakers: Mapping[str, Mapping[str, str]] | None = None
    #: Keys ``Kind/name`` of the definitions that have a newer draft beside what is in force.
    drafts: Collection[str] | None = None
    #: Why an integration cannot be reached at an origin, "" when it can, by both names; None: nobody has probed.
    probes: Mapping[tuple[str, str], str] | None = None
    consumption: Consumption | None = None
