"""A small shop to test with: definitions to build on, and visitors whose events come minute by minute."""

from itertools import count
from textwrap import dedent

import msgspec

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import read_documents
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import parse_documents
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, Timeline, decide
from actionmap.decision import Decision
from actionmap.event import Event, to_millis
from actionmap.visitor import Visitor
from actionmap.wire import parse_event

#: 10 o'clock on the day of the tests, in milliseconds since 1970.
TEN = to_millis(parse_event(b'{"eventName": "a", "visitorId": "v", "timestamp": "2026-11-21T10:00:00Z"}').timestamp)
MINUTE = 60_000

#: An integration, a data action and a webhook that are all live; the webhook is called ``hello``.
BASE = """
kind: Integration
name: crm
baseUrl: https://crm.example.com
---
kind: DataAction
name: greet
integration: crm
state: published
contract:
  input: {type: object, properties: {who: {type: string}}}
---
kind: Webhook
name: hello
dataAction: greet
state: published
mappings: {who: {lookup: visitor.id}}
"""

_numbers = count()


def definitions(*texts: str) -> dict[str, Definition]:
    """The definitions of some YAML texts, each indented as it likes."""
    return parse_documents(read_documents("\n---\n".join(dedent(text) for text in texts)))[0]


def rulebook(*texts: str) -> Rulebook:
    """The texts, with the base below them, compiled."""
    return compile_rulebook(definitions(BASE, *texts))


def one_map(trigger: str, rest: str = "frequency: every") -> Rulebook:
    """A rulebook of one map called ``m`` with a ``trigger``, both in YAML on one line each."""
    return rulebook(f"{{kind: ActionMap, name: m, trigger: {trigger}, action: {{webhook: hello}}, {rest}}}")


def event(name: str = "page_viewed", minute: float = 0, *, visitor: str = "v1", **fields: object) -> Event:
    """An event some minutes after ten; ``fields`` as on the wire. It has an id of its own if none is given."""
    sent = {"eventName": name, "visitorId": visitor, **fields}
    at = int(TEN + minute * MINUTE)
    return parse_record(Record("events", 0, next(_numbers), at, None, msgspec.json.encode(sent))).event


def page(url: str, minute: float = 0, **fields: object) -> Event:
    """A page view of ``url``."""
    return event("page_viewed", minute, page={"url": url}, **fields)


def live(
    rules: Rulebook, *events: Event, visitor: Visitor | None = None, policy: Policy | None = None
) -> list[Decision]:
    """What events of one visitor lead to, in the order in which they arrive."""
    decisions: list[Decision] = []
    stream_time = -1
    for one in events:
        decisions.append(decide(one, visitor, rules, stream_time, policy or Policy()))
        visitor = decisions[-1].visitor
        stream_time = max(stream_time, one.time)
    return decisions


def after(rules: Rulebook, *events: Event) -> Visitor:
    """The visitor after its ``events``."""
    return live(rules, *events)[-1].visitor


def fired(decision: Decision) -> list[str]:
    """The maps that fired, in order."""
    return [verdict.action_map for verdict in decision.verdicts if verdict.reason == "fired"]


def reasons(decision: Decision) -> dict[str, str]:
    """Map → why it fired or did not."""
    return {verdict.action_map: verdict.reason for verdict in decision.verdicts}


def played(rules: Rulebook, *events: Event, policy: Policy | None = None) -> list[tuple[float, Decision]]:
    """What events and the timers between and after them lead to, each with its minute after ten."""
    timeline = Timeline(rules, policy or Policy(), -1, {})
    decisions: list[tuple[float, Decision]] = []

    def run(until: int) -> None:
        while timeline.next_due is not None and timeline.next_due <= until:
            due = timeline.next_due
            decisions.extend(((due - TEN) / MINUTE, decision) for _, decision in timeline.run_timers(due, due))

    for one in events:
        run(one.time - 1)
        decisions.append(((one.time - TEN) / MINUTE, timeline.take(one)))
        run(timeline.stream_time)
    while timeline.next_due is not None:
        run(timeline.next_due)
    return decisions


def sent(decisions: list[tuple[float, Decision]]) -> list[tuple[float, str]]:
    """The minute after ten, and the map, of each firing."""
    return [(minute, name) for minute, decision in decisions for name in fired(decision)]
