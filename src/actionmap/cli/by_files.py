"""What commands answer by the definitions in a folder, as a server answers it: `explain`, `check-golive`, `webhooks`.

They import it only then: a server that is asked does all this itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.folder import read_rules
from actionmap.errors import Rejected, SettingsError
from actionmap.event import Event
from actionmap.explain import Explainer, given_event
from actionmap.policy import policy_of
from actionmap.process import wall_clock
from actionmap.settings import load_settings

if TYPE_CHECKING:
    from actionmap.trial import Trial


def explained(rules: Path, action_map: str | None, given: list[Any]) -> list[dict[str, Any]]:
    """Why ``action_map``, or each active one, fires for the last of the events ``given``, or does not.

    Raises:
        ActionmapError: the definitions in ``rules`` are wrong or hold no such map, or an event is none.
    """
    definitions, policy = read_rules(rules), policy_of(load_settings())
    rulebook = compile_rulebook(definitions)
    *before, last = [_event(number, one) for number, one in enumerate(given)]
    explainer = Explainer(definitions, rulebook, policy)
    visitor, stream_time = explainer.before(last, before, None)
    if action_map is not None:
        return [explainer.of_event(action_map, last, visitor, stream_time).as_json()]
    return [one.as_json() for one in explainer.all_of_event(last, visitor, stream_time)]


def _event(number: int, given: Any) -> Event:
    try:
        return given_event(given, number, wall_clock())
    except Rejected as why:
        raise SettingsError(f"event {number + 1}: {why.reason}: {why.detail}") from None


def checked(rules: Path, action_map: str | None) -> list[dict[str, Any]]:
    """The go-live check of ``action_map``, or of each active one.

    Raises:
        ActionmapError: the definitions in ``rules`` are wrong, or hold no such map.
    """
    from actionmap.golive import Surroundings, active_maps, check_each

    definitions, settings = read_rules(rules), load_settings()
    around = Surroundings(
        now=wall_clock(),
        egress_hosts=settings.egress_hosts,
        egress_networks=settings.egress_networks,
    )
    names = [action_map] if action_map else active_maps(definitions)
    return [found.as_json() for found in check_each(definitions, names, around)]


async def tried(rules: Path, name: str, events: list[Any] | None, *, is_sent: bool) -> dict[str, Any]:
    """What the webhook ``name`` would send, with the values of the last of ``events`` or samples; sent when asked.

    Raises:
        ActionmapError: the definitions in ``rules`` are wrong or hold no such webhook, or an event is none.
    """
    settings = load_settings()
    trial = _trial(rules, name, events)
    if not is_sent:
        return trial.as_json()
    from actionmap.engine import build_sender
    from actionmap.trial import send

    async with build_sender(settings) as sender:
        return trial.as_json(await send(trial, sender))


def _trial(rules: Path, name: str, written: list[Any] | None) -> Trial:
    from actionmap.trial import new_id, try_out

    definitions, now, scope = read_rules(rules), wall_clock(), None
    rulebook = compile_rulebook(definitions)
    if written is not None:
        explainer = Explainer(definitions, rulebook, policy_of(load_settings()))
        try:
            *earlier, event = [given_event(one, number, now) for number, one in enumerate(written)]
        except Rejected as why:
            raise SettingsError(f"an event is none: {why.reason}: {why.detail}") from None
        scope = explainer.scope_of_event(event, *explainer.before(event, earlier, None))
    return try_out(definitions, rulebook, name, scope, id_=new_id(), now=now)
