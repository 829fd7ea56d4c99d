"""What would fire over recorded events: the same as live, in event time, sending nothing."""

import json

import pytest
from shop import BASE, definitions, live, rulebook

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.rulebook import Rulebook
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy
from actionmap.event import to_millis
from actionmap.simulate import MASK, Coverage, Simulation, coverage, differences, firing, masked_credentials, simulate
from actionmap.wire import parse_event

EVERY = rulebook(
    "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}, frequency: every}"
)


def line(time: str | None = "10:00:00", visitor: str = "v1", name: str = "page_viewed", **fields: object) -> bytes:
    when = {} if time is None else {"timestamp": f"2026-11-21T{time}Z"}
    return json.dumps({"eventName": name, "visitorId": visitor, **when, **fields}).encode()


def run(rules: Rulebook, *lines: bytes, **policy: int) -> Simulation:
    return simulate(rules, list(enumerate(lines, 1)), source="day.jsonl", policy=Policy(**policy))


def test_firings_come_in_order_of_time_then_of_the_input():
    found = run(EVERY, line("10:00:02", "a"), line("10:00:01", "b"), line("10:00:02", "c"), line("10:00:01", "a"))
    assert [(delivery.at % 60_000, delivery.visitor_id) for delivery in found.deliveries] == [
        (1000, "b"),
        (1000, "a"),
        (2000, "a"),
        (2000, "c"),
    ]


def test_deliveries_of_one_event_stay_in_order_of_priority():
    maps = [
        f"{{kind: ActionMap, name: {name}, priority: {priority}, trigger: {{event: page_viewed}}, action: {{webhook: hello}}}}"  # noqa: E501
        for name, priority in (("a", "low"), ("b", "high"))
    ]
    found = run(rulebook(*maps), line())
    assert [delivery.action_map for delivery in found.deliveries] == ["b", "a"]


def test_a_missing_id_is_the_file_and_the_line():
    found = run(EVERY, line(), b"", line("10:00:01"), line("10:00:02", eventId="own"))
    assert [delivery.event_id for delivery in found.deliveries] == ["day.jsonl/0/1", "day.jsonl/0/3", "own"]


def test_a_line_without_a_timestamp_is_an_error_by_number():
    found = run(EVERY, line(), line(None), line("10:00:01"))
    assert [(number, reason) for number, reason, _ in found.bad_lines] == [(2, "no-timestamp")]
    assert found.events == 2


def test_bad_lines_are_told_by_number_and_the_others_still_count():
    found = run(EVERY, b"nonsense", line(), b"[]", b"   ")
    assert [(number, reason) for number, reason, _ in found.bad_lines] == [(1, "malformed-json"), (3, "not-an-object")]
    assert len(found.deliveries) == 1


def test_old_logs_live_in_their_own_time():
    old = [
        json.dumps({"eventName": "page_viewed", "visitorId": "v", "timestamp": f"{year}-01-01T00:00:00Z"}).encode()
        for year in (1999, 2015)
    ]
    found = run(EVERY, *old)
    assert [delivery.at for delivery in found.deliveries] == [946_684_800_000 - 31_536_000_000, 1_420_070_400_000]


def test_the_whole_file_is_one_partition_so_another_visitors_event_makes_one_late():
    found = run(EVERY, line("23:00:00", "a"), line("10:00:00", "b"), allowed_lateness_ms=3_600_000)
    assert found.outcomes == {"judged": 1, "late": 1}


def test_no_time_is_clamped_since_the_records_time_is_the_events_own():
    found = run(EVERY, line("10:00:00"), line("23:59:59"))
    assert [delivery.at for delivery in found.deliveries] == [delivery.owed_at for delivery in found.deliveries]
    assert found.outcomes == {"judged": 2}


def test_the_same_event_twice_is_a_duplicate():
    found = run(EVERY, line(eventId="e"), line("10:00:01", eventId="e"))
    assert (found.outcomes, len(found.deliveries)) == ({"judged": 1, "duplicate": 1}, 1)


def test_it_decides_as_live_does():
    rules = rulebook(
        "{kind: ActionMap, name: m, trigger: {count: {event: page_viewed, atLeast: 2, within: session}}, action: {webhook: hello}}"  # noqa: E501
    )
    lines = [line(f"10:{minute:02}:00", eventId=f"e{number}") for number, minute in enumerate([0, 5, 3, 40, 41, 59])]
    events = [
        parse_record(Record("t", 0, number, to_millis(parse_event(text).timestamp), None, text)).event
        for number, text in enumerate(lines)
    ]
    as_live = [delivery for decision in live(rules, *events) for delivery in decision.deliveries]
    found = run(rules, *lines)
    assert found.deliveries == sorted(as_live, key=lambda delivery: delivery.at)
    assert found.verdicts == {"m": {"fired": 2, "condition-false": 2, "capped": 2}}


def test_lookups_without_a_value_are_counted():
    base = BASE.replace("lookup: visitor.id", "lookup: visitor.traits.name")
    rules = compile_rulebook(
        definitions(
            base,
            "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}, frequency: every}",
        )
    )
    assert run(rules, line(), line("10:00:01")).missing_lookups == {"m/who": 2}


# --- a firing as it is printed

AUTHS = {
    "none": ("{type: none}", {}),
    "basic": ('{type: basic, username: us, password: "${ACTIONMAP_SECRET_A}"}', {"Authorization": f"Basic {MASK}"}),
    "bearer": ('{type: bearer, token: "${ACTIONMAP_SECRET_A}"}', {"Authorization": f"Bearer {MASK}"}),
    "apiKey": ('{type: apiKey, header: X-Key, value: "${ACTIONMAP_SECRET_A}"}', {"X-Key": MASK}),
}


@pytest.mark.parametrize(("auth", "masked"), AUTHS.values(), ids=AUTHS)
def test_secrets_are_masked(auth, masked, monkeypatch):
    monkeypatch.setenv("ACTIONMAP_SECRET_A", "s3cret")
    base = BASE.replace("baseUrl: https://crm.example.com", f"baseUrl: https://crm.example.com/\nauth: {auth}")
    rules = compile_rulebook(
        definitions(base, "{kind: ActionMap, name: m, trigger: {event: page_viewed}, action: {webhook: hello}}")
    )
    [delivery] = run(rules, line(eventId="e")).deliveries
    printed = firing(delivery, rules.integrations["crm"])
    assert printed == {
        "actionMap": "m",
        "visitorId": "v1",
        "eventId": "e",
        "at": "2026-11-21T10:00:00.000Z",
        "request": {
            "method": "POST",
            "url": "https://crm.example.com",
            "headers": {
                "Content-Type": "application/json",
                "Idempotency-Key": delivery.id,
                "webhook-id": delivery.id,
                **masked,
            },
            "body": '{"who":"v1"}',
        },
    }
    assert "s3cret" not in json.dumps(printed)
    assert "ACTIONMAP_SECRET" not in json.dumps(printed)


def test_without_its_integration_nothing_is_added():
    assert masked_credentials(None) == {}


def test_nothing_is_sent(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a simulation opens no connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert len(run(EVERY, line(), line("10:00:01")).deliveries) == 2


def test_progress_is_told_now_and_then():
    told: list[int] = []
    simulate(EVERY, [(number, b"") for number in range(1, 2501)], source="x", policy=Policy(), on_progress=told.append)
    assert told == [1000, 2000]


# --- two sets beside each other, shadow maps, coverage


def one(name: str = "m", **fields: object) -> str:
    return json.dumps({"kind": "ActionMap", "name": name, "trigger": {"event": "page_viewed"}, "frequency": "every",
                       "action": {"webhook": "hello"}} | fields)  # fmt: skip


def test_differences_name_what_appears_disappears_and_changes():
    lines = [line("10:00:00", "a"), line("10:00:01", "b", name="cart_added")]
    other = BASE.replace("{lookup: visitor.id}", "{value: somebody}")
    first = run(rulebook(one(), one("new", trigger={"event": "cart_added"})), *lines)
    second = run(compile_rulebook(definitions(other, one(), one("old"))), *lines)
    found = [(one.change, one.delivery.action_map, one.delivery.visitor_id) for one in differences(first, second)]
    assert found == [("changes", "m", "a"), ("disappears", "old", "a"), ("appears", "new", "b")]
    assert differences(first, first) == []


def test_shadow_maps_are_kept_apart():
    found = run(rulebook(one(mode="shadow"), one("live")), line())
    assert ([one.action_map for one in found.deliveries], [one.action_map for one in found.shadowed]) == (
        ["live"], ["m"],
    )  # fmt: skip


@pytest.mark.parametrize("on_missing", ["skip", "omit", "sendNull"])
def test_coverage_tells_for_how_many_firings_a_lookup_had_a_value(on_missing):
    base = BASE.replace("{lookup: visitor.id}", f"{{lookup: visitor.traits.name, onMissing: {on_missing}}}")
    found = definitions(base, one())
    lines = [line("10:00:00", "a", traits={"name": "Ann"}), line("10:00:01", "b"), line("10:00:02", "c")]
    rows = coverage(run(compile_rulebook(found), *lines), found)
    assert rows == [Coverage("m", "who", "visitor.traits.name", 1, 3)]


def test_what_actionmap_itself_gave_is_simulated_too():
    vip = "{kind: Segment, name: vip, external: true}"
    rules = rulebook(vip, one(trigger={"all": [{"event": "page_viewed"}, {"segment": "vip"}]}))
    given = line("10:00:00", name="segment_assigned", attributes={"segment": "vip"})
    assert len(run(rules, given, line("10:00:01")).deliveries) == 1


def test_what_is_due_after_the_last_year_that_can_be_written_loses_nothing():
    absence = {"absence": {"after": {"event": "page_viewed"}, "of": {"event": "x"}, "for": "30d"}}
    lines = [json.dumps({"eventName": "page_viewed", "visitorId": "v", "timestamp": f"{year}-12-31T23:59:59Z"}).encode()
             for year in (2026, 9999)]  # fmt: skip
    hours = {"timezone": "Pacific/Kiritimati", "open": ["mon 09:00-10:00"]}
    found = run(rulebook(one(trigger=absence), one("hours", schedule=hours)), *lines)
    assert [firing(delivery, None)["at"][:4] for delivery in found.deliveries] == ["2027", "9999"]
    assert found.verdicts["hours"] == {"outside-schedule": 2}


def test_timers_of_one_time_come_in_the_order_of_the_input():
    absence = {"absence": {"after": {"event": "page_viewed"}, "of": {"event": "x"}, "for": "5m"}}
    found = run(rulebook(one(trigger=absence)), line("10:00:00", "zz"), line("10:00:00", "aa"))
    assert [delivery.visitor_id for delivery in found.deliveries] == ["zz", "aa"]


def test_a_recorded_outcome_is_judged_at_its_time_and_counts_in_nothing():
    rules = rulebook(
        "{kind: ActionMap, name: m, trigger: {event: webhook_failed}, action: {webhook: hello}, frequency: every}",
        "{kind: ActionMap, name: told, trigger: {all: [{event: e}, {key: visitor.variables.broken, value: true}]}, action: {webhook: hello}}",  # noqa: E501
        "{kind: ActionMap, name: other, trigger: {key: visitor.id, operator: exists}, action: {webhook: hello}, frequency: {max: 9}}",  # noqa: E501
    )
    failed = line("10:00:01", name="webhook_failed", attributes={"webhook": "w", "status": 503, "broken": True})
    found = run(rules, line("10:00:00", name="x"), failed, line("10:00:02", name="e"))
    assert found.outcomes == {"judged": 2, "outcome": 1}
    assert [(one.action_map, one.at % 60_000) for one in found.deliveries] == [
        ("other", 0), ("m", 1000), ("other", 2000), ("told", 2000),
    ]  # fmt: skip
    on_page = line("10:00:01", name="webhook_failed", page={"url": "https://x.example"})
    assert run(rules, on_page).bad_lines[0][1:] == (
        "invalid-field", "webhook_failed has attributes and traits; it happens on no page",
    )  # fmt: skip
