"""What durable-rules does with many visitors and many maps: each finding of docs/why.md, shown again.

    python benchmarks/durable_rules.py

It takes the extra ``durable`` (Python before 3.13, a C compiler). Each scene runs in a fork, because some end the
process; what is printed is what happened on this machine. Nothing is asserted.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import durable_rules_engine as engine

LIMIT_S = 30
Rules = dict[str, Any]


def ruleset(rules: Rules) -> Any:
    return engine.create_ruleset("rules", json.dumps(rules))


def when(*conditions: Rules) -> Rules:
    """A rule of one or several events in turn."""
    return {"all": [{f"m{number}" if number else "m": one} for number, one in enumerate(conditions)]}


def tell(handle: Any, how: Callable[..., Any], number: int, visitor: str = "v", **fields: Any) -> list[str]:
    """Tell it one event or fact of a visitor; answers the rules that fire, in their order."""
    status, state = how(handle, json.dumps({"id": str(number), "sid": visitor, **fields}))
    fired: list[str] = []
    found = engine.start_action_for_state(handle, state) if status == 0 else None
    message = found[1] if found else None
    while message:
        fired += json.loads(message)
        message = engine.complete_and_start_action(handle, state)
    return fired


def one_event_fires_one_map() -> str:
    handle = ruleset({f"map-{number}": when({"page": "/pricing"}) for number in range(3)})
    as_event = tell(handle, engine.assert_event, 1, page="/pricing")
    as_fact = tell(handle, engine.assert_fact, 2, page="/pricing")
    return f"of 3 maps on one page, an event fires {len(as_event)}; a fact fires {len(as_fact)}"


def maps_take_each_others_events() -> str:
    count = {"count": 3, **when({"page": "/pricing"})}
    sequence = when({"page": "/pricing"}, {"page": "/cart"})
    pages = ["/pricing", "/pricing", "/pricing", "/cart"]

    def fired(rules: Rules) -> list[str]:
        handle = ruleset(rules)
        return [rule for at, page in enumerate(pages) for rule in tell(handle, engine.assert_event, at, page=page)]

    alone = [*fired({"count": count}), *fired({"sequence": sequence})]
    return f"{pages}: each map alone fires {alone}; both together fire {fired({'count': count, 'sequence': sequence})}"


def visitors_end_at_1023() -> str:
    handle = ruleset({"map": when({"page": "/pricing"}, {"page": "/cart"})})
    for number in range(100_000):
        try:
            tell(handle, engine.assert_event, number, f"visitor-{number}", page="/pricing")
        except MemoryError:
            say(f"MemoryError at visitor {number + 1:,}; then that visitor again: ")
            tell(handle, engine.assert_event, number + 1, f"visitor-{number}", page="/cart")
            return "goes on"
    return "100,000 visitors"


def forgetting_a_visitor_crashes() -> str:
    handle = ruleset({"map": when({"page": "/pricing"}, {"page": "/cart"})})
    for number in range(2):
        tell(handle, engine.assert_event, number, f"visitor-{number}", page="/pricing")
    say("the state of one of two visitors is deleted, the other one goes on: ")
    engine.delete_state(handle, "visitor-0")
    for _ in range(3):
        engine.start_action(handle)
        tell(handle, engine.assert_event, 9, "visitor-1", page="/cart")
    return "goes on"


def two_visitors_share_state() -> str:
    handle = ruleset({"pricing-then-cart": when({"page": "/pricing"}, {"page": "/cart"})})
    tell(handle, engine.assert_event, 1, "visitor-122789", page="/pricing")
    fired = tell(handle, engine.assert_event, 2, "visitor-339192", page="/cart")
    return f"visitor-122789 sees /pricing, visitor-339192 sees /cart: fires {fired}"


def memory_of_a_visitor() -> str:
    handle = ruleset({f"map-{number}": when({"page": f"/{number}"}, {"page": "/cart"}) for number in range(100)})
    before = resident()
    for number in range(200):
        tell(handle, engine.assert_event, number, f"visitor-{number}", page="/0")
    return f"{(resident() - before) / 200 / 1e6:.2f} MB a visitor with 100 maps"


def false_is_zero() -> str:
    handle = ruleset({"zero": when({"cart": 0})})
    return f"cart == 0 with cart false: fires {tell(handle, engine.assert_fact, 1, cart=False)}"


def its_search_misses_text() -> str:
    handle = ruleset({"contains aba": when({"$mt": {"text": ".*aba.*"}})})
    return f"contains 'aba' in 'aabab': fires {tell(handle, engine.assert_fact, 1, text='aabab')}"


def many_alternatives_never_end() -> str:
    say("a map with 600 alternatives: ")
    ruleset({"map": when({"$or": [{"page": f"/{number}"} for number in range(600)]})})
    return "made"


def many_keywords_crash() -> str:
    say("a map with 300 keywords: ")
    ruleset({"map": when({"$mt": {"text": "|".join(f".*kw{number}.*" for number in range(300))}})})
    return "made"


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def say(text: str) -> None:
    print(text, end="", flush=True)


def show(scene: Callable[[], str]) -> None:
    """Run one scene in a fork, and print what came of it."""
    say(f"{scene.__name__.replace('_', ' ')}\n    ")
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S / 10 if "never" in scene.__name__ else LIMIT_S)
        try:
            say(scene())
        except BaseException as error:
            say(f"{type(error).__name__}: {error}")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        say("does not end" if number is signal.SIGALRM else f"the process ends: {number.name}")
    print()


SCENES = [
    one_event_fires_one_map,
    maps_take_each_others_events,
    two_visitors_share_state,
    visitors_end_at_1023,
    forgetting_a_visitor_crashes,
    memory_of_a_visitor,
    false_is_zero,
    its_search_misses_text,
    many_alternatives_never_end,
    many_keywords_crash,
]

if __name__ == "__main__":
    for one in SCENES:
        show(one)
