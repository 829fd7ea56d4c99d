"""Every check, in its order, of one action map or of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from actionmap.catalog.models import Definition
from actionmap.catalog.rulebook import Parts
from actionmap.golive import definitions as by_definitions
from actionmap.golive import running
from actionmap.golive.around import Surroundings
from actionmap.golive.chain import Chain, CheckedSet
from actionmap.golive.check import Check, GoLive

_Ask = Callable[[Chain, Surroundings], Check]
#: The first four have fixed names, always pass or fail, and need nothing but definitions.
_CHECKS: tuple[_Ask, ...] = (
    by_definitions.webhook_published,
    by_definitions.action_map_active,
    by_definitions.integration_active,
    by_definitions.data_action_published,
    by_definitions.contract_mapped,
    running.no_newer_draft,
    by_definitions.mode_live,
    by_definitions.segments_active,
    by_definitions.dates_open,
    by_definitions.schedule_opens,
    by_definitions.not_outranked,
    by_definitions.egress_allowed,
    running.credentials_present,
    running.endpoint_reachable,
    running.integration_well,
    running.breaker_closed,
    running.consumer_alive,
    running.store_durable,
    running.lookups_resolved,
)
#: Those whose answer depends on the map itself; the others answer alike for all maps of a webhook.
_OF_MAP = frozenset(
    {by_definitions.action_map_active, by_definitions.mode_live, by_definitions.segments_active,
     by_definitions.dates_open, by_definitions.schedule_opens, by_definitions.not_outranked,
     running.lookups_resolved}
)  # fmt: skip


def check_golive(definitions: Mapping[str, Definition], name: str, around: Surroundings) -> GoLive:
    """Check the action map ``name``.

    Args:
        definitions: A set that compiles, by key ``Kind/name``.
        name: The map.
        around: What is known of the running system.

    Raises:
        NotFound: there is no such map.
    """
    [found] = check_each(definitions, [name], around)
    return found


def check_each(
    definitions: Mapping[str, Definition], names: Iterable[str], around: Surroundings, parts: Parts | None = None
) -> Iterator[GoLive]:
    """Check the action maps ``names``, one after another.

    Args:
        definitions: A set that compiles, by key ``Kind/name``.
        names: The maps.
        around: What is known of the running system.
        parts: What a rulebook of the very same objects has compiled already.

    Raises:
        NotFound: there is no such map.
    """
    among = CheckedSet(definitions, around.now, parts)
    shared: dict[tuple[_Ask, str], Check] = {}

    def answer(ask: _Ask, chain: Chain) -> Check:
        if ask in _OF_MAP:
            return ask(chain, around)
        key = (ask, chain.webhook.name)
        if key not in shared:
            shared[key] = ask(chain, around)
        return shared[key]

    for name in names:
        chain = among.chain(name)
        yield GoLive(name, tuple(answer(ask, chain) for ask in _CHECKS))
