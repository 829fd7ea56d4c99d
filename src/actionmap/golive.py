"""The go-live check: would this action map really fire? A list of named checks, each failure with its fix.

The first four are Genesys's go-live checklist: template published, map active, integration active, data action
saved and published.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from actionmap.catalog.addresses import Network, static_findings
from actionmap.catalog.compile import asked_segments
from actionmap.catalog.models import ActionMap, DataAction, Definition, Integration, Segment, Webhook
from actionmap.catalog.parse import nearest
from actionmap.errors import NotFound
from actionmap.event import to_millis, to_rfc3339
from actionmap.store.durability import Guarantees
from actionmap.store.integrations import UNKNOWN, IntegrationState

Status = Literal["pass", "fail", "warn", "skip"]


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of one action map."""

    name: str
    status: Status
    #: What was found.
    message: str
    #: What to do about it; "" when nothing is to be done.
    fix: str = ""


@dataclass(frozen=True, slots=True)
class GoLive:
    """All checks of one action map."""

    action_map: str
    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """True when no check fails."""
        return all(check.status != "fail" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The form that `check-golive --format json` prints and REST answers."""
        checks = [asdict(check) for check in self.checks]
        return {"actionMap": self.action_map, "ready": self.ready, "checks": checks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the checks know beside the definitions; None for what only the running system could tell."""

    #: Milliseconds since 1970.
    now: int
    egress_hosts: Collection[str] = ()
    egress_networks: tuple[Network, ...] = ()
    #: Whether the environment variable of a secret is set.
    secret_is_set: Callable[[str], bool] | None = None
    #: Whether a key opens a secret that is stored.
    opens_secret: Callable[[str], bool] | None = None
    #: What the store promises to keep; None when there is no store to ask.
    guarantees: Guarantees | None = None
    #: How often maps have fired in the last seven days (``map``), and lookups had no value then (``map/field``).
    lookups: Mapping[str, int] | None = None
    #: How integrations are doing, by name; None when there is no store to ask.
    integrations: Mapping[str, IntegrationState] | None = None


@dataclass(frozen=True, slots=True)
class _Chain:
    """An action map and what it leads to."""

    definitions: Mapping[str, Definition]
    action_map: ActionMap
    webhook: Webhook
    data_action: DataAction
    integration: Integration


def check_golive(definitions: Mapping[str, Definition], name: str, around: Surroundings) -> GoLive:
    """Check the action map ``name``.

    Args:
        definitions: A set that compiles, by key ``Kind/name``.
        name: The map.
        around: What is known of the running system.

    Raises:
        NotFound: there is no such map.
    """
    action_map = definitions.get(f"ActionMap/{name}")
    if not isinstance(action_map, ActionMap):
        known = [key.removeprefix("ActionMap/") for key in definitions if key.startswith("ActionMap/")]
        raise NotFound(f"there is no action map {name!r}{nearest(name, known)}")
    chain = _chain(definitions, action_map)
    return GoLive(name, tuple(check(chain, around) for check in _CHECKS))


def active_maps(definitions: Mapping[str, Definition]) -> list[str]:
    """Names of the active action maps, sorted."""
    return sorted(some.name for some in definitions.values() if isinstance(some, ActionMap) and some.active)


def counted_lookups(definitions: Mapping[str, Definition], names: Iterable[str]) -> list[str]:
    """What `Surroundings.lookups` is asked for of the action maps ``names``; those that there are not are left out."""
    found = []
    for name in names:
        action_map = definitions.get(f"ActionMap/{name}")
        if isinstance(action_map, ActionMap):
            fields = _lookups(_chain(definitions, action_map).webhook)
            found += [name, *(f"{name}/{field}" for field in fields)] if fields else []
    return found


def _lookups(webhook: Webhook) -> dict[str, str]:
    """The paths that are looked up, by contract field."""
    return {field: some.lookup for field, some in webhook.mappings.items() if some.lookup is not None}


def _chain(definitions: Mapping[str, Definition], action_map: ActionMap) -> _Chain:
    webhook = definitions[f"Webhook/{action_map.action.webhook}"]
    assert isinstance(webhook, Webhook)
    data_action = definitions[f"DataAction/{webhook.data_action}"]
    assert isinstance(data_action, DataAction)
    integration = definitions[f"Integration/{data_action.integration}"]
    assert isinstance(integration, Integration)
    return _Chain(definitions, action_map, webhook, data_action, integration)


def _webhook_published(chain: _Chain, _: Surroundings) -> Check:
    webhook = chain.webhook
    if webhook.state == "published":
        return Check("webhook-published", "pass", f"the webhook {webhook.name} is published")
    fix = (
        f"publish it: state: published, or POST /api/v1/webhooks/{webhook.name}/publish"
        if webhook.state == "draft"
        else "point the map to a published webhook; an archived one stays archived"
    )
    return Check("webhook-published", "fail", f"the webhook {webhook.name} is {webhook.state}", fix)


def _action_map_active(chain: _Chain, _: Surroundings) -> Check:
    some = chain.action_map
    return _switched(
        "action-map-active", f"the action map {some.name}", some.active, f"action-maps/{some.name}/activate"
    )


def _integration_active(chain: _Chain, _: Surroundings) -> Check:
    some = chain.integration
    path = f"integrations/{some.name}/activate"
    return _switched("integration-active", f"the integration {some.name}", some.active, path)


def _data_action_published(chain: _Chain, _: Surroundings) -> Check:
    some, published = chain.data_action, chain.data_action.state == "published"
    return _switched(
        "data-action-published", f"the data action {some.name}", published, f"data-actions/{some.name}/publish"
    )


def _switched(name: str, what: str, is_on: bool, path: str) -> Check:
    """A check of what one field, or one POST to ``path``, switches on."""
    publishes = path.endswith("/publish")
    if is_on:
        return Check(name, "pass", f"{what} is {'published' if publishes else 'active'}")
    fix = f"{'publish it: state: published' if publishes else 'activate it: active: true'}, or POST /api/v1/{path}"
    return Check(name, "fail", f"{what} is {'a draft' if publishes else 'inactive'}", fix)


def _contract_mapped(chain: _Chain, _: Surroundings) -> Check:
    fields = set(chain.data_action.contract.input.get("properties", {}))
    unmapped = sorted(fields - chain.webhook.mappings.keys())
    if unmapped:
        fix = f"map {', '.join(unmapped)} in the webhook {chain.webhook.name}"
        return Check("contract-mapped", "fail", f"not mapped: {', '.join(unmapped)}", fix)
    return Check("contract-mapped", "pass", f"all {len(fields)} fields of the input contract are mapped")


def _segments_active(chain: _Chain, _: Surroundings) -> Check:
    asked = asked_segments(chain.definitions, chain.action_map)
    inactive = [name for name in asked if not _is_active(chain.definitions[f"Segment/{name}"])]
    if inactive:
        message = f"inactive, so without members: {', '.join(inactive)}"
        return Check("segments-active", "fail", message, "activate them: active: true, or take them out of the trigger")
    return Check("segments-active", "pass", f"active: {', '.join(asked)}" if asked else "the trigger asks no segment")


def _is_active(definition: Definition) -> bool:
    return isinstance(definition, Segment) and definition.active


def _dates_open(chain: _Chain, around: Surroundings) -> Check:
    start, end = chain.action_map.start_date, chain.action_map.end_date
    if end is not None and to_millis(end) <= around.now:
        message = f"it ended at {to_rfc3339(to_millis(end))}"
        return Check("dates-open", "fail", message, "set a later endDate, or none")
    if start is not None and to_millis(start) > around.now:
        return Check("dates-open", "warn", f"it starts at {to_rfc3339(to_millis(start))}", "wait, or set it earlier")
    return Check(
        "dates-open", "pass", "today lies between startDate and endDate" if start or end else "no dates are set"
    )


def _egress_allowed(chain: _Chain, around: Surroundings) -> Check:
    urls = chain.integration.urls().values()
    for url in urls:
        problem = static_findings(url, around.egress_hosts, around.egress_networks)
        if problem:
            fix = "use a public https address, or allow it explicitly"
            return Check("egress-allowed", "fail", f"{url}: {problem}", fix)
    return Check("egress-allowed", "pass", f"{' and '.join(urls)} may be sent to, as far as the text tells")


def _credentials_present(chain: _Chain, around: Surroundings) -> Check:
    secrets, stored = sorted(chain.integration.secret_names()), chain.integration.sealed_secrets()
    if around.opens_secret is not None and not all(map(around.opens_secret, stored)):
        fix = "add the key it was encrypted with to ACTIONMAP_SECRETS_KEY, or write the secret anew"
        return Check("credentials-present", "fail", "a stored secret cannot be opened", fix)
    if not secrets:
        if stored:
            return Check("credentials-present", "pass", "its secrets are stored")
        return Check("credentials-present", "pass", "the integration needs no secret")
    if around.secret_is_set is None:
        return Check("credentials-present", "skip", "only the running system knows its environment")
    unset = [name for name in secrets if not around.secret_is_set(name)]
    if unset:
        fix = "set it in the environment of the engine and of the server"
        return Check("credentials-present", "fail", f"not set: {', '.join(unset)}", fix)
    return Check("credentials-present", "pass", f"set: {', '.join(secrets)}")


def _store_durable(_: _Chain, around: Surroundings) -> Check:
    if around.guarantees is None:
        return Check("store-durable", "skip", "only the running system knows its store")
    if not around.guarantees.missing:
        return Check("store-durable", "pass", around.guarantees.words)
    return Check("store-durable", "warn", around.guarantees.words, "appendonly yes, appendfsync always, noeviction")


def _lookups_resolved(chain: _Chain, around: Surroundings) -> Check:
    name, looked_up, counts = "lookups-resolved", _lookups(chain.webhook), around.lookups
    if not looked_up:
        return Check(name, "pass", "no field is looked up")
    if counts is None:
        return Check(name, "skip", "only the running system counts them")
    firings = counts.get(chain.action_map.name, 0)
    if not firings:
        return Check(name, "pass", "it has not fired in the last seven days")
    missing = {field: number for field in looked_up if (number := counts.get(f"{chain.action_map.name}/{field}", 0))}
    if not missing:
        return Check(name, "pass", f"every field had a value in all {firings:,} firings of the last seven days")
    told = ", ".join(f"{field} ({looked_up[field]}) in {number:,}" for field, number in missing.items())
    fix = "look up a path that is set, or say what is sent without it: default:, or onMissing: omit or skip"
    return Check(name, "warn", f"without a value in {firings:,} firings of the last seven days: {told}", fix)


def _integration_well(chain: _Chain, around: Surroundings) -> Check:
    name, integration = "integration-well", chain.integration.name
    if around.integrations is None:
        return Check(name, "skip", "only the running system knows how it is doing")
    hold, health = around.integrations.get(integration, UNKNOWN)
    if hold is not None:
        message = f"{integration} is {hold.kind}{f' ({hold.reason})' if hold.reason else ''}: its deliveries are held"
        return Check(name, "warn", message, f"actionmap integrations resume {integration}")
    if health.failing_since is not None:
        message = f"{integration} has failed since {to_rfc3339(health.failing_since)}: {health.last_error}"
        return Check(name, "warn", message, "look at the receiver; deliveries are tried again until they are too old")
    if health.warning:
        return Check(name, "warn", health.warning, f"mend it, then: actionmap integrations resume {integration}")
    return Check(name, "pass", f"{integration} is well, as far as it was tried")


_CHECKS: tuple[Callable[[_Chain, Surroundings], Check], ...] = (
    _webhook_published,
    _action_map_active,
    _integration_active,
    _data_action_published,
    _contract_mapped,
    _segments_active,
    _dates_open,
    _egress_allowed,
    _credentials_present,
    _store_durable,
    _lookups_resolved,
    _integration_well,
)
