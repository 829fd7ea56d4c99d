"""Checks that the definitions answer. The first four are Genesys's go-live checklist: template published, map active,
integration active, data action saved and published."""

from __future__ import annotations

from actionmap.catalog.addresses import static_findings
from actionmap.catalog.contracts import properties_of
from actionmap.catalog.models import Segment
from actionmap.catalog.schedule import OpeningHours
from actionmap.event import to_millis, to_rfc3339
from actionmap.golive.around import Surroundings
from actionmap.golive.chain import Chain
from actionmap.golive.check import Check

_DAY_MS = 86_400_000
#: A schedule that opens later than so many days from now is told.
_OPENS_WITHIN_DAYS = 31


def webhook_published(chain: Chain, _: Surroundings) -> Check:
    """The template is published."""
    webhook = chain.webhook
    if webhook.state == "published":
        return Check("webhook-published", "pass", f"the webhook {webhook.name} is published")
    fix = (
        f"publish it: state: published, or POST /api/v1/webhooks/{webhook.name}/publish"
        if webhook.state == "draft"
        else "point the map to a published webhook; an archived one stays archived"
    )
    return Check("webhook-published", "fail", f"the webhook {webhook.name} is {webhook.state}", fix)


def action_map_active(chain: Chain, _: Surroundings) -> Check:
    """The map is active."""
    some = chain.action_map
    return _switched(
        "action-map-active", f"the action map {some.name}", some.active, f"action-maps/{some.name}/activate"
    )


def integration_active(chain: Chain, _: Surroundings) -> Check:
    """The integration is meant to be active."""
    some = chain.integration
    path = f"integrations/{some.name}/activate"
    return _switched("integration-active", f"the integration {some.name}", some.active, path)


def data_action_published(chain: Chain, _: Surroundings) -> Check:
    """The data action is saved and published."""
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


def contract_mapped(chain: Chain, _: Surroundings) -> Check:
    """Every field of the contract is mapped, as the contract is now.

    Names are compared here; that what is mapped fits is asked whenever anything is saved, for a set that does not fit
    together does not compile; and the contract of a published data action never changes.
    """
    fields = set(properties_of(chain.data_action.contract))
    unmapped = sorted(fields - chain.webhook.mappings.keys())
    if unmapped:
        fix = f"map {', '.join(unmapped)} in the webhook {chain.webhook.name}"
        return Check("contract-mapped", "fail", f"not mapped: {', '.join(unmapped)}", fix)
    return Check("contract-mapped", "pass", f"all {len(fields)} fields of the input contract are mapped")


def mode_live(chain: Chain, _: Surroundings) -> Check:
    """What it fires is sent, at least for some visitors."""
    name, some = "mode-live", chain.action_map
    if some.mode == "shadow":
        message = "it is in shadow mode: what it would send is counted and shown, and nothing is sent"
        return Check(name, "warn", message, "set mode: live when it is to send")
    percent = some.holdout_percent or 0
    if percent >= 100:
        message = "all visitors are held out (holdoutPercent: 100), so nothing is sent"
        return Check(name, "warn", message, "lower holdoutPercent, or take it out")
    held_out = f", but not for the {percent:g} % of the visitors that are held out" if percent else ""
    return Check(name, "pass", f"it is live: what it fires is sent{held_out}")


def segments_active(chain: Chain, _: Surroundings) -> Check:
    """The segments behind the trigger may have members."""
    asked = chain.among.rules.asked_by(chain.action_map)
    inactive = [name for name in asked if not _is_active(chain, name)]
    if inactive:
        message = f"inactive, so without members: {', '.join(inactive)}"
        return Check("segments-active", "fail", message, "activate them: active: true, or take them out of the trigger")
    return Check("segments-active", "pass", f"active: {', '.join(asked)}" if asked else "the trigger asks no segment")


def _is_active(chain: Chain, name: str) -> bool:
    segment = chain.among.definitions[f"Segment/{name}"]
    return isinstance(segment, Segment) and segment.active


def dates_open(chain: Chain, around: Surroundings) -> Check:
    """Now lies between startDate and endDate."""
    start, end = chain.action_map.start_date, chain.action_map.end_date
    if end is not None and to_millis(end) <= around.now:
        message = f"it ended at {to_rfc3339(to_millis(end))}"
        return Check("dates-open", "fail", message, "set a later endDate, or none")
    if start is not None and to_millis(start) > around.now:
        return Check("dates-open", "warn", f"it starts at {to_rfc3339(to_millis(start))}", "wait, or set it earlier")
    return Check(
        "dates-open", "pass", "today lies between startDate and endDate" if start or end else "no dates are set"
    )


def schedule_opens(chain: Chain, around: Surroundings) -> Check:
    """The schedule opens between the dates, and soon."""
    name, schedule = "schedule-opens", chain.action_map.schedule
    if schedule is None:
        return Check(name, "pass", "it has no opening hours")
    start, end = chain.action_map.start_date, chain.action_map.end_date
    begin = max(around.now, to_millis(start) if start else around.now)
    hours = OpeningHours(schedule.timezone, schedule.open, schedule.except_)
    opens = hours.opens_between(begin, to_millis(end) if end else None)
    if opens is None:
        until = f" before it ends at {to_rfc3339(to_millis(end))}" if end else ""
        return Check(
            name, "fail", f"it does not open{until}", "give schedule: open: hours that come, or a later endDate"
        )
    if opens <= begin:
        return Check(name, "pass", "it is open" if begin == around.now else f"it is open at {to_rfc3339(begin)}")
    if opens - begin > _OPENS_WITHIN_DAYS * _DAY_MS:
        message = f"it opens at {to_rfc3339(opens)}, which is more than {_OPENS_WITHIN_DAYS} days away"
        return Check(name, "warn", message, "look at schedule: except:")
    return Check(name, "pass", f"it opens at {to_rfc3339(opens)}")


def not_outranked(chain: Chain, _: Surroundings) -> Check:
    """No map of its exclusive group comes first whenever it matches."""
    name, group = "not-outranked", chain.action_map.exclusive_group
    if group is None:
        return Check(name, "pass", "it is in no exclusive group")
    winner = chain.among.winner_over(chain.action_map)
    if winner:
        message = f"whenever it matches, {winner} does too and comes first in the group {group}"
        return Check(
            name, "fail", message, f"raise its priority, narrow what {winner} asks, or take it out of the group"
        )
    return Check(name, "pass", f"no map of the group {group} always comes first")


def egress_allowed(chain: Chain, around: Surroundings) -> Check:
    """What requests are sent to is no place inside a network, as far as the text tells."""
    urls = chain.integration.urls().values()
    for url in urls:
        problem = static_findings(url, around.egress_hosts, around.egress_networks)
        if problem:
            fix = "use a public https address, or allow it explicitly"
            return Check("egress-allowed", "fail", f"{url}: {problem}", fix)
    return Check("egress-allowed", "pass", f"{' and '.join(urls)} may be sent to, as far as the text tells")
