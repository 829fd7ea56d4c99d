"""Action maps compiled: trigger, how and when, and what a firing counts towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actionmap.catalog.compile.linked import Linked
from actionmap.catalog.compile.webhooks import why_not_live
from actionmap.catalog.conditions import BadPattern, Test, compile_comparison
from actionmap.catalog.models import ActionMap, Webhook
from actionmap.catalog.rulebook import Cap, CompiledMap, CompiledWebhook, Order
from actionmap.catalog.schedule import OpeningHours
from actionmap.catalog.triggers import Compiled
from actionmap.catalog.windows import Reach
from actionmap.event import VISITOR_ERASED, to_millis

_RANK = {"high": 0, "medium": 1, "low": 2}


def order_of(action_map: ActionMap) -> Order:
    """The map's place among all: by priority, then name."""
    return _RANK[action_map.priority], action_map.name


def compile_map(
    linked: Linked, action_map: ActionMap, version: int, trigger: Compiled, compiled: CompiledWebhook | None
) -> CompiledMap | None:
    """``action_map`` compiled; None when something is wrong with it or with its webhook."""
    webhook = linked.referred(action_map, "action.webhook", Webhook, action_map.action.webhook)
    includes, excludes = _urls(linked, action_map, "include"), _urls(linked, action_map, "exclude")
    activation, schedule = action_map.activation, action_map.schedule
    if activation.type != "immediate" and trigger.absence is not None:
        linked.found(action_map, "activation", "a later activation of an absence is refused: make the absence longer")
    if activation.type != "immediate" and VISITOR_ERASED in trigger.events:
        linked.found(action_map, "activation", f"at {VISITOR_ERASED} a map fires at once: nothing waits beyond it")
    if webhook is None or compiled is None:
        return None
    return CompiledMap(
        name=action_map.name,
        order=order_of(action_map),
        version=version,
        test=trigger.test,
        exact=trigger.exact and trigger.absence is None,
        not_live=why_not_live(linked.definitions, webhook),
        start=to_millis(action_map.start_date) if action_map.start_date else None,
        end=to_millis(action_map.end_date) if action_map.end_date else None,
        includes=includes,
        excludes=excludes,
        schedule=OpeningHours(schedule.timezone, schedule.open, schedule.except_) if schedule else None,
        cap=_cap(action_map),
        holdout_percent=action_map.holdout_percent,
        exclusive_group=action_map.group,
        waits=activation.type != "immediate",
        delay_ms=None if activation.delay_seconds is None else activation.delay_seconds * 1000,
        absence=trigger.absence,
        events=trigger.events,
        left=trigger.left,
        webhook=compiled,
        shadow=action_map.mode == "shadow",
    )


def _urls(linked: Linked, action_map: ActionMap, side: str) -> tuple[Test, ...]:
    tests = []
    for index, condition in enumerate(getattr(action_map.page_urls, side)):
        try:
            tests.append(compile_comparison(condition))
        except BadPattern as error:
            linked.found(action_map, f"pageUrls.{side}.{index}.values", str(error))
    return tuple(tests)


def cap_keys(action_map: ActionMap) -> tuple[str, ...]:
    """What firings of the map may be counted under."""
    group = action_map.group
    return (action_map.name,) if group is None else (action_map.name, _group_key(group))


def _group_key(group: str) -> str:
    return f"group/{group}"


def _cap(action_map: ActionMap) -> Cap | None:
    frequency = action_map.frequency
    if frequency == "every":
        return None
    reach = Reach.of(frequency.per)
    group = action_map.group
    if frequency.scope == "group" and group is not None:
        return Cap(_group_key(group), frequency.max, frequency.per, reach, group)
    return Cap(action_map.name, frequency.max, frequency.per, reach)


def counted_together(maps: Sequence[CompiledMap]) -> tuple[CompiledMap, ...]:
    """The maps, each with all that its firings count towards: a group's caps are those of any of its maps."""
    caps: dict[str, dict[tuple[str, str], Cap]] = {}
    for one in maps:
        if one.cap is not None and one.cap.group:
            of_group = caps.setdefault(one.cap.group, {})
            # Durations share the times of firings, which must then be kept for the longest and the most of them.
            kind = (one.cap.key, one.cap.reach.kind)
            of_group[kind] = _wider(of_group.get(kind), one.cap)
    counted = []
    for one in maps:
        own = (one.cap,) if one.cap is not None and not one.cap.group else ()
        shared = tuple(caps.get(one.exclusive_group, {}).values()) if one.exclusive_group else ()
        counts = (*own, *shared)
        counted.append(one if counts == one.counted_in else replace(one, counted_in=counts))
    return tuple(counted)


def _wider(known: Cap | None, cap: Cap) -> Cap:
    if known is None:
        return cap
    reach = Reach(cap.reach.kind, max(known.reach.ms, cap.reach.ms))
    return Cap(cap.key, max(known.max, cap.max), cap.per, reach, cap.group)
