"""A visitor with one more event in it: sessions, counters, traits, what is remembered and what is forgotten."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import MINUTE, TEN, after, event, live, page, rulebook

from actionmap.decide import Policy, decide
from actionmap.decide.observe import MAX_NAMES, MAX_SEARCH_TERMS
from actionmap.visitor import REMEMBERED_IDS, Visitor, decode_visitor, encode_visitor

NONE = rulebook()
ONE_OF_ALL = rulebook(
    """
    kind: Segment
    name: known
    when: {key: visitor.traits.email, operator: exists}
    ---
    kind: ActionMap
    name: m
    trigger: {any: [{segment: known}, {count: {event: page_viewed, atLeast: 2, within: session}}]}
    frequency: {max: 3, per: session}
    action: {webhook: hello}
    """
)
DAY = 24 * 60


# --- sessions


def test_twenty_minutes_are_the_same_session():
    assert after(NONE, event(), event(minute=20)).session.number == 1


def test_more_than_twenty_minutes_are_a_new_session():
    visitor = after(NONE, event(), event(minute=20 + 1 / 60_000))
    assert (visitor.session_count, visitor.session.number, visitor.session.event_count) == (2, 2, 1)
    assert visitor.event_count == 2


def test_the_gap_is_a_setting():
    decisions = live(NONE, event(), event(minute=2), policy=Policy(session_timeout_ms=MINUTE))
    assert decisions[-1].visitor.session_count == 2


def test_the_gap_runs_from_the_sessions_greatest_event_time():
    visitor = after(NONE, event(minute=15), event(minute=1), event(minute=34))
    assert visitor.session_count == 1


def test_an_older_event_joins_the_current_session_however_old():
    visitor = after(NONE, event(minute=0), event(minute=60), event(minute=30))
    assert (visitor.session_count, visitor.session.event_count) == (2, 2)
    assert visitor.session.last_event_at == TEN + 60 * MINUTE


def test_an_older_event_that_joins_makes_the_session_begin_earlier():
    visitor = after(NONE, event(minute=10), event(minute=4))
    assert visitor.session.created_at == TEN + 4 * MINUTE


def test_a_new_session_starts_empty():
    first = page(
        "https://shop.example/?utm_source=ad",
        0,
        searchQuery="a",
        customerId="c",
        attributes={"x": 1},
        referrerUrl="https://google.com/",
        userAgent="Mozilla/5.0 (iPhone)",
        language="de",
    )
    session = after(ONE_OF_ALL, first, page("https://shop.example/", 1), event("other", 40)).session
    assert (session.pageview_count, session.event_count, session.search_terms, session.attributes) == (0, 1, [], {})
    assert (session.mkt_campaign, session.referrer, session.browser, session.device) == (None, None, None, None)
    assert (session.authenticated, session.last_page, session.counts, session.fired) == (False, None, {}, {})


# --- counters


def test_page_views_are_counted_apart():
    visitor = after(NONE, event(), event("cart_added", 1), event(minute=2))
    assert (visitor.session.pageview_count, visitor.session.event_count, visitor.event_count) == (2, 3, 3)


def test_first_and_last_seen_are_the_smallest_and_greatest_event_times():
    visitor = after(NONE, event(minute=5), event(minute=2), event(minute=9), event(minute=7))
    assert (visitor.first_seen_at, visitor.last_seen_at) == (TEN + 2 * MINUTE, TEN + 9 * MINUTE)


# --- traits, customer, attributes: they follow arrival


def test_traits_are_replaced_whole_and_not_merged_inside():
    visitor = after(
        NONE,
        event(traits={"address": {"city": "Ulm", "zip": "89073"}, "plan": "pro"}),
        event(minute=1, traits={"address": {"city": "Bonn"}}),
    )
    assert visitor.traits == {"address": {"city": "Bonn"}, "plan": "pro"}


def test_traits_and_customer_follow_arrival_not_event_time():
    visitor = after(
        NONE,
        event(minute=5, traits={"plan": "pro"}, customerId="new"),
        event(minute=1, traits={"plan": "free"}, customerId="old"),
    )
    assert (visitor.traits, visitor.customer_id) == ({"plan": "free"}, "old")


def test_a_trait_of_null_is_missing_from_then_on():
    assert after(NONE, event(traits={"email": "a"}), event(minute=1, traits={"email": None})).traits == {"email": None}


def test_a_customer_is_remembered_beyond_the_session_that_was_authenticated():
    visitor = after(NONE, event(customerId="c-1"), event(minute=60))
    assert (visitor.customer_id, visitor.session.authenticated) == ("c-1", False)
    assert after(NONE, event(customerId="c-1"), event(minute=1)).session.authenticated


def test_session_attributes_are_the_latest_of_each_name():
    session = after(NONE, event(attributes={"a": 1, "b": 1}), event("x", 1, attributes={"a": 2})).session
    assert session.attributes == {"a": 2, "b": 1}


def test_names_beyond_the_limit_push_out_the_oldest():
    visitor = after(
        NONE,
        event(traits={f"t{number}": number for number in range(MAX_NAMES)}),
        event(minute=1, traits={"t0": "again", "new": 1}),
    )
    assert len(visitor.traits) == MAX_NAMES
    assert "t1" not in visitor.traits
    assert (visitor.traits["t0"], visitor.traits["new"], visitor.traits["t2"]) == ("again", 1, 2)


def test_a_visitor_cannot_be_made_to_grow_without_end():
    long = "x" * 30_000
    for field in ("traits", "attributes"):
        visitor = after(NONE, *[event(minute=1, **{field: {f"n{number}": long, "s": number}}) for number in range(20)])
        kept = visitor.traits if field == "traits" else visitor.session.attributes
        assert kept == {"n19": long, "s": 19}
    searched = after(NONE, *[event(minute=1, searchQuery=f"{number} {long}") for number in range(200)])
    assert len(encode_visitor(searched)) < 64 * 1024


def test_search_terms_are_kept_once_in_order_and_only_so_many():
    terms = after(NONE, *[event(minute=1, searchQuery=term) for term in ("a", "b", "a", "")]).session.search_terms
    assert terms == ["a", "b"]
    many = [event(minute=1, searchQuery=f"q{number}") for number in range(MAX_SEARCH_TERMS + 5)]
    assert after(NONE, *many).session.search_terms[0] == "q5"


# --- what a session keeps of where its visitor came from


def test_the_campaign_is_the_first_of_the_session_as_a_whole():
    visitor = after(
        NONE,
        page("https://shop.example/"),
        page("https://shop.example/?utm_source=first", 1),
        page("https://shop.example/?utm_source=second&utm_medium=cpc", 2),
    )
    assert (visitor.session.mkt_campaign.source, visitor.session.mkt_campaign.medium) == ("first", None)


def test_the_referrer_is_the_first_of_the_session_as_a_whole():
    visitor = after(
        NONE,
        event(),
        event(minute=1, referrerUrl=""),
        event(minute=2, referrerUrl="https://google.com/a"),
        event(minute=3, referrerUrl="https://bing.com/"),
    )
    assert (visitor.session.referrer.url, visitor.session.referrer.medium) == ("https://google.com/a", "search")


def test_the_last_page_follows_arrival_and_includes_the_current_one():
    visitor = after(NONE, page("https://shop.example/a", 5), page("https://shop.example/b", 1), event("x", 6))
    assert visitor.session.last_page.url == "https://shop.example/b"


def test_the_browsers_language_is_the_first_one_told_whenever_it_comes():
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
    for order in (
        [{"userAgent": agent}, {"language": "de"}],
        [{"language": "de"}, {"userAgent": agent}],
        [{"userAgent": agent, "language": "de"}, {"language": "fr"}],
    ):
        browser = after(NONE, *[event(minute=number, **fields) for number, fields in enumerate(order)]).session.browser
        assert (browser.family, browser.lang) == ("Firefox", "de")


# --- duplicates


def test_an_event_seen_again_is_a_duplicate_and_changes_nothing():
    first, second = live(NONE, event(eventId="e"), event(minute=1, eventId="e", traits={"plan": "pro"}))
    assert (second.outcome, second.verdicts, second.deliveries) == ("duplicate", (), ())
    assert second.visitor == first.visitor


def test_the_last_64_ids_are_remembered_and_the_65th_is_forgotten():
    seen = [event(minute=0, eventId=f"e{number}") for number in range(REMEMBERED_IDS)]
    assert REMEMBERED_IDS == 64
    visitor = after(NONE, *seen)
    assert decide(seen[0], visitor, NONE, -1, Policy()).outcome == "duplicate"
    visitor = live(NONE, event(eventId="one more"), visitor=visitor)[-1].visitor
    assert decide(seen[0], visitor, NONE, -1, Policy()).outcome == "judged"
    assert decide(seen[1], visitor, NONE, -1, Policy()).outcome == "duplicate"


def test_ids_are_found_only_where_they_begin():
    visitor = Visitor(id="v", first_seen_at=0, last_seen_at=0)
    visitor.remember(b"01234567")
    visitor.remember(b"89abcdef")
    assert visitor.has_seen(b"01234567")
    assert visitor.has_seen(b"89abcdef")
    assert not visitor.has_seen(b"456789ab")
    visitor.remember(b"456789ab")
    assert visitor.has_seen(b"456789ab")


def test_two_visitors_may_use_the_same_event_id():
    assert decide(event(visitor="v2", eventId="e"), None, NONE, -1, Policy()).outcome == "judged"


# --- late events


def late_after(*events, minute: float = -DAY - 1, **fields):
    return live(ONE_OF_ALL, *events, event(minute=minute, **fields))[-1]


def test_a_day_behind_stream_time_is_late_and_exactly_a_day_is_not():
    assert late_after(event(minute=0), minute=-DAY).outcome == "judged"
    assert late_after(event(minute=0), minute=-DAY - 1 / 60_000).outcome == "late"


def test_how_late_is_too_late_is_a_setting():
    decisions = live(NONE, event(), event(minute=-2), policy=Policy(allowed_lateness_ms=MINUTE))
    assert decisions[-1].outcome == "late"


def test_a_late_event_updates_traits_and_customer_and_nothing_else():
    before = after(ONE_OF_ALL, page("https://shop.example/a"))
    decision = late_after(
        page("https://shop.example/a"),
        traits={"email": "a@b.example"},
        customerId="c",
        page={"url": "https://shop.example/late"},
        attributes={"x": 1},
    )
    assert (decision.outcome, decision.verdicts, decision.deliveries) == ("late", (), ())
    late = decision.visitor
    assert (late.traits, late.customer_id) == ({"email": "a@b.example"}, "c")
    assert late.segments == before.segments == []  # a late event re-judges no segment
    assert (late.session, late.event_count, late.session_count) == (before.session, 1, 1)
    assert (late.first_seen_at, late.last_seen_at) == (before.first_seen_at, before.last_seen_at)


def test_a_late_events_id_counts_among_the_64():
    decisions = live(NONE, event(), event(minute=-DAY - 1, eventId="late"), event(minute=1, eventId="late"))
    assert [decision.outcome for decision in decisions] == ["judged", "late", "duplicate"]


def test_a_late_event_of_an_unknown_visitor_makes_one_without_a_session():
    visitor = decide(event(minute=-DAY - 1, traits={"a": 1}), None, NONE, TEN, Policy()).visitor
    assert (visitor.session, visitor.session_count, visitor.event_count, visitor.traits) == (None, 0, 0, {"a": 1})
    assert live(NONE, event(), visitor=visitor)[-1].visitor.session.number == 1


# --- what holds for every event

fields = st.fixed_dictionaries(
    {},
    optional={
        "traits": st.dictionaries(
            st.sampled_from(["email", "b"]),
            st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
            max_size=2,
        ),
        "attributes": st.dictionaries(
            st.sampled_from(["a", "b"]), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=2
        ),
        "customerId": st.sampled_from(["c1", "c2"]),
        "searchQuery": st.text(max_size=3),
        "language": st.sampled_from(["de", "en"]),
        "userAgent": st.sampled_from(["Mozilla/5.0 (iPhone)", "x"]),
        "referrerUrl": st.sampled_from(["", "https://google.com/", "https://[::1"]),
        "page": st.sampled_from([{"url": "https://shop.example/?utm_source=a"}, {"title": "t"}, {}]),
        "eventId": st.sampled_from(["e1", "e2", "e3"]),
    },
)
stories = st.lists(
    st.tuples(st.sampled_from(["page_viewed", "x"]), st.floats(-2 * DAY, 2 * DAY), fields), min_size=1, max_size=8
)


@settings(deadline=None)
@given(stories)
def test_the_visitor_before_is_never_changed_in_place(story):
    visitor, stream_time = None, -1
    for name, minute, sent in story:
        one = event(name, minute, **sent)
        before = None if visitor is None else encode_visitor(visitor)
        event_before = msgspec.json.encode(one)
        decision = decide(one, visitor, ONE_OF_ALL, stream_time, Policy())
        assert (None if visitor is None else encode_visitor(visitor)) == before
        assert msgspec.json.encode(one) == event_before
        visitor, stream_time = decision.visitor, max(stream_time, one.time)


@settings(deadline=None)
@given(stories)
def test_a_visitor_that_went_through_the_store_is_judged_the_same(story):
    kept, stored, stream_time = None, None, -1
    for name, minute, sent in story:
        one = event(name, minute, **sent)
        first = decide(one, kept, ONE_OF_ALL, stream_time, Policy())
        second = decide(one, None if stored is None else decode_visitor(stored), ONE_OF_ALL, stream_time, Policy())
        assert first == second
        kept, stored, stream_time = first.visitor, encode_visitor(second.visitor), max(stream_time, one.time)


@settings(deadline=None)
@given(stories)
def test_counters_add_up(story):
    decisions = live(NONE, *[event(name, minute, **sent) for name, minute, sent in story])
    visitor = decisions[-1].visitor
    judged = [decision for decision in decisions if decision.outcome == "judged"]
    assert visitor.event_count == len(judged)
    assert len(visitor.recent_event_ids) == 8 * sum(decision.outcome != "duplicate" for decision in decisions)
    if visitor.session:
        session = visitor.session
        assert session.number == visitor.session_count <= visitor.event_count
        assert session.pageview_count <= session.event_count <= visitor.event_count
        assert visitor.first_seen_at <= session.created_at <= session.last_event_at <= visitor.last_seen_at


@pytest.mark.parametrize("garbage", [b"", b"{}", b"null", b'{"id": 1}'])
def test_what_is_no_stored_visitor_is_refused(garbage):
    with pytest.raises(msgspec.DecodeError):
        decode_visitor(garbage)
