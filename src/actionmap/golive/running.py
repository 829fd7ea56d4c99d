"""Checks that only the running system answers; they are skipped where it is not asked."""

from __future__ import annotations

from actionmap.catalog.mappings import counted_as, key_of_lookups, looked_up
from actionmap.deliver.reported import reported
from actionmap.event import to_rfc3339
from actionmap.golive.around import Surroundings
from actionmap.golive.chain import Chain
from actionmap.golive.check import Check, Status
from actionmap.store.integrations import UNKNOWN
from actionmap.store.lookups import Count

#: Records that wait to be evaluated; more are told.
_MUCH_LAG = 10_000
#: How long an integration has to fail for a map not to be ready.
_FAILING_MS = 5 * 60_000


def no_newer_draft(chain: Chain, around: Surroundings) -> Check:
    """What is in force is the newest of what was written."""
    name = "no-newer-draft"
    if around.drafts is None:
        return Check(name, "skip", "only the server keeps drafts beside what is in force")
    parts = (("webhook", "webhooks", chain.webhook), ("data action", "data-actions", chain.data_action))
    newer = [(word, plural, one.name) for word, plural, one in parts if one.key in around.drafts]
    if newer:
        told = " and ".join(f"the {word} {named}" for word, _, named in newer)
        fix = " and ".join(f"POST /api/v1/{plural}/{named}/publish" for _, plural, named in newer)
        return Check(name, "warn", f"{told}: a newer draft is not in force yet", f"publish it: {fix}, or discard it")
    return Check(name, "pass", "what is in force is the newest")


def credentials_present(chain: Chain, around: Surroundings) -> Check:
    """The secrets that requests need can be read."""
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


def endpoint_reachable(chain: Chain, around: Surroundings) -> Check:
    """The receiver can be connected to; no request is sent to it."""
    name, origin = "endpoint-reachable", chain.origin
    if around.probes is None:
        return Check(name, "skip", "nothing is connected to without --probe")
    if chain.unpublished:
        return Check(name, "skip", f"{chain.unpublished}: the server connects only to where what is published leads")
    problem = around.probes.get((chain.integration.name, origin))
    if problem is None:
        return Check(name, "skip", f"{origin} was not probed")
    if problem:
        fix = f"look at baseUrl, network and receiver, then: actionmap integrations test {chain.integration.name}"
        return Check(name, "fail", problem, fix)
    return Check(name, "pass", f"{origin} was reached by the server")


def integration_well(chain: Chain, around: Surroundings) -> Check:
    """The integration is what it is meant to be: its reported state."""
    name, integration = "integration-well", chain.integration.name
    if around.integrations is None:
        return Check(name, "skip", "only the running system knows how it is doing")
    state = around.integrations.get(integration, UNKNOWN)
    hold, health, _ = state
    is_ = reported(state, active=chain.integration.active, edition=around.edition(integration))
    resume = f"actionmap integrations resume {integration}"
    if hold is not None:
        message = f"{integration} is {hold.kind}{f' ({hold.reason})' if hold.reason else ''}: its deliveries are held"
        return Check(name, "fail" if hold.kind == "disabled" else "warn", message, resume)
    if is_.state == "error" and health.failing_since is not None and is_.since == health.failing_since:
        message = f"{integration} has failed since {to_rfc3339(health.failing_since)}: {health.last_error}"
        # One that was away for a moment is none that would keep a map from firing.
        status: Status = "fail" if around.now - health.failing_since >= _FAILING_MS else "warn"
        return Check(name, status, message, "look at the receiver; deliveries are tried again until they are too old")
    if is_.state == "error":
        fix = f"look at baseUrl, network and receiver, then: actionmap integrations test {integration}"
        return Check(name, "fail", f"{integration}: {is_.detail}", fix)
    if health.warning:
        return Check(name, "warn", health.warning, f"mend it, then: {resume}")
    return Check(name, "pass", f"{integration} is {is_.state}{f': {is_.detail}' if is_.detail else ''}")


def breaker_closed(chain: Chain, around: Surroundings) -> Check:
    """No worker keeps requests back because the receiver fails."""
    name, integration = "breaker-closed", chain.integration.name
    if around.breakers is None:
        return Check(name, "skip", "only the running system knows its breakers")
    states = {worker: found[integration] for worker, found in around.breakers.items() if integration in found}
    if states:
        told = ", ".join(f"{state} in {worker}" for worker, state in sorted(states.items()))
        fix = "look at the receiver; probes go out, and deliveries wait until one succeeds"
        return Check(name, "warn", f"the breaker of {integration} is {told}", fix)
    return Check(name, "pass", f"the breaker of {integration} is closed in every worker")


def consumer_alive(_: Chain, around: Surroundings) -> Check:
    """Somebody evaluates events, in every partition, and keeps up with them."""
    name, found = "consumer-alive", around.consumption
    if found is None:
        return Check(name, "skip", "only the running system knows who evaluates events")
    if found.problem:
        return Check(name, "fail", found.problem, "look at the brokers, and at ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS")
    if found.halted:
        told = "; ".join(f"partition {number} is halted: {why}" for number, why in sorted(found.halted.items())[:3])
        fix = f"actionmap partitions resume {min(found.halted)} --policy continue (or rebuild)"
        return Check(name, "fail", f"{told}{'; …' if len(found.halted) > 3 else ''}", fix)
    waiting = f"{found.lag:,} records are not evaluated yet"
    if found.members == 0:
        return Check(name, "fail", f"no worker consumes events; {waiting}", "start one: actionmap run")
    who = "the broker does not tell who consumes" if found.members is None else f"workers that consume: {found.members}"
    if found.lag > _MUCH_LAG:
        return Check(name, "warn", f"{who}; {waiting}", "see actionmap status; start more workers")
    return Check(name, "pass", f"{who}; {waiting}")


def store_durable(_: Chain, around: Surroundings) -> Check:
    """The store keeps what it has taken."""
    if around.guarantees is None:
        return Check("store-durable", "skip", "only the running system knows its store")
    if not around.guarantees.missing:
        return Check("store-durable", "pass", around.guarantees.words)
    return Check("store-durable", "warn", around.guarantees.words, "appendonly yes, appendfsync always, noeviction")


def lookups_resolved(chain: Chain, around: Surroundings) -> Check:
    """Lookups had values, where the map has matched."""
    name, paths, counts = "lookups-resolved", looked_up(chain.webhook), around.lookups
    if not paths:
        return Check(name, "pass", "no field is looked up")
    if counts is None:
        return Check(name, "skip", "only the running system counts them")
    action_map, lookups = chain.action_map.name, key_of_lookups(chain.webhook)
    matches = counts.get(counted_as(action_map, lookups))
    if matches is None:
        return Check(name, "skip", "it has not matched with these lookups in the last seven days, so nobody knows yet")
    missing = {field: some for field in paths if (some := counts.get(counted_as(action_map, lookups, field)))}
    if not missing:
        who = f"{matches.visitors:,} visitors ({matches.times:,} matches)"
        return Check(name, "pass", f"every field had a value for all {who} of the last seven days")
    told = "; ".join(f"{field} ({path}) had a value for {_covered(matches, missing[field])}"
                     for field, path in paths.items() if field in missing)  # fmt: skip
    fix = "look up a path that is set, or say what is sent without it: default:, or onMissing: omit or skip"
    if all(chain.webhook.mappings[field].says_when_missing for field in missing):
        fix = "if that is too few, look up a path that is set more often: what is sent without a value is said already"
    return Check(name, "warn", f"in the last seven days, {told}", fix)


def _covered(matches: Count, missing: Count) -> str:
    """For how many visitors there was a value each time. The numbers of visitors are estimates, and may contradict."""
    with_value = max(0, matches.visitors - missing.visitors)
    times = max(0, matches.times - missing.times)
    return f"{with_value:,} of {matches.visitors:,} visitors ({times:,} of {matches.times:,} matches)"
