"""An action map and what it leads to, among a set of definitions that compiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actionmap.catalog.compile import why_unpublished
from actionmap.catalog.lint.outranked import outranked
from actionmap.catalog.lint.ruleset import Ruleset
from actionmap.catalog.mappings import counted_as, key_of_lookups, looked_up
from actionmap.catalog.models import ActionMap, DataAction, Definition, Integration, Webhook
from actionmap.catalog.parse import nearest
from actionmap.catalog.places import split_base_url
from actionmap.catalog.rulebook import Parts
from actionmap.catalog.templates import compile_base_url
from actionmap.errors import NotFound

#: Of an integration whose host depends on the webhook, so many hosts are looked at.
_MOST_ORIGINS = 10


@dataclass(frozen=True, slots=True)
class Chain:
    """An action map and what it leads to."""

    among: CheckedSet
    action_map: ActionMap
    webhook: Webhook
    data_action: DataAction
    integration: Integration

    @property
    def origin(self) -> str:
        """Scheme, host and port that its requests go to."""
        return _origin(self.integration, self.webhook)

    @property
    def unpublished(self) -> str:
        """Which of webhook and data action is not published, in words for people; "" when both are."""
        return why_unpublished(self.among.definitions, self.webhook)


class CheckedSet:
    """A set of definitions, as the checks look at it: what many maps share is found out once.

    Args:
        definitions: A set that compiles, by key ``Kind/name``.
        now: Milliseconds since 1970.
        parts: What a rulebook of the very same objects has compiled already.
    """

    def __init__(self, definitions: Mapping[str, Definition], now: int, parts: Parts | None = None) -> None:
        self.definitions = definitions
        self.rules = Ruleset(definitions, now, parts)
        self._outranked: dict[str, dict[str, str]] = {}

    def chain(self, name: str) -> Chain:
        """The action map ``name`` and what it leads to.

        Raises:
            NotFound: there is no such map.
        """
        action_map = self.definitions.get(f"ActionMap/{name}")
        if not isinstance(action_map, ActionMap):
            known = [key.removeprefix("ActionMap/") for key in self.definitions if key.startswith("ActionMap/")]
            raise NotFound(f"there is no action map {name!r}{nearest(name, known)}")
        webhook = self.rules.webhook_of(action_map)
        data_action = self.rules.data_action_of(webhook)
        integration = self.definitions[f"Integration/{data_action.integration}"]
        assert isinstance(integration, Integration)
        return Chain(self, action_map, webhook, data_action, integration)

    def winner_over(self, action_map: ActionMap) -> str:
        """A map that always comes before ``action_map`` in its exclusive group; "" when there is none."""
        group = action_map.exclusive_group
        if group is None:
            return ""
        if group not in self._outranked:
            self._outranked[group] = outranked(self.rules, self.rules.groups.get(group, ()))
        return self._outranked[group].get(action_map.name, "")


def active_maps(definitions: Mapping[str, Definition]) -> list[str]:
    """Names of the active action maps, sorted."""
    return sorted(some.name for some in definitions.values() if isinstance(some, ActionMap) and some.active)


def counted_lookups(definitions: Mapping[str, Definition], names: Iterable[str]) -> list[str]:
    """What `Surroundings.lookups` is asked for of the action maps ``names``; those that there are not are left out."""
    found = []
    for name in names:
        action_map = definitions.get(f"ActionMap/{name}")
        if isinstance(action_map, ActionMap):
            webhook = definitions[f"Webhook/{action_map.action.webhook}"]
            if isinstance(webhook, Webhook) and (lookups := key_of_lookups(webhook)):
                found += [counted_as(name, lookups, field) for field in ("", *looked_up(webhook))]
    return found


def origins_of(definitions: Mapping[str, Definition], integration: Integration) -> list[str]:
    """Scheme, host and port of the places that requests of ``integration`` go to, ten at most.

    Where its host has places, its published webhooks say what stands there; without any there are none. What is not
    published may be of somebody who has no say in where the server connects.
    """
    if "{{" not in split_base_url(integration.base_url)[0]:
        return [split_base_url(integration.base_url)[0]]
    actions = {one.name for one in definitions.values()
               if isinstance(one, DataAction) and one.integration == integration.name}  # fmt: skip
    webhooks = (one for one in definitions.values() if isinstance(one, Webhook) and one.data_action in actions
                and not why_unpublished(definitions, one))  # fmt: skip
    return sorted({_origin(integration, webhook) for webhook in webhooks})[:_MOST_ORIGINS]


def destinations(definitions: Mapping[str, Definition], names: Iterable[str]) -> dict[tuple[str, str], Integration]:
    """Where the action maps ``names`` lead to by what is published, each place once: by integration and origin.

    Raises:
        NotFound: there is no such map.
    """
    among, known, found = CheckedSet(definitions, 0), set[str](), {}
    for name in names:
        chain = among.chain(name)
        if chain.webhook.name not in known and not chain.unpublished:
            known.add(chain.webhook.name)
            found[chain.integration.name, chain.origin] = chain.integration
    return found


def _origin(integration: Integration, webhook: Webhook) -> str:
    origin = split_base_url(integration.base_url)[0]
    if "{{" not in origin:
        return origin
    values = {name: mapping.value for name, mapping in webhook.mappings.items()}
    return compile_base_url(origin, values.keys()).host(values)
