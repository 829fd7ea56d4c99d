"""The 33 probes of a reviewer, and where each is made: the tests that are named here exist, and no probe is missing.

Where the probe as it is usually put asks for something else than is promised here, the row says what and why.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def _there(module: str, *names: str) -> list[str]:
    return [f"{module}.py::test_{name}" for name in names]


GOES, BACK, TIME, LEARNED = (
    f"hostile/test_{name}" for name in ("where_it_goes", "what_comes_back", "over_time", "what_is_learned")
)
SIGN, REQUEST, TEMPLATES, BODIES, FILTERS = (
    f"unit/test_{name}" for name in ("sign", "request", "templates", "bodies", "filters")
)
WORKER, SECRETS, BY_INTEGRATION = (
    f"integration/test_{name}" for name in ("delivery_worker", "secrets_stay_secret", "integrations")
)

#: Probe → (what is promised, the tests that ask for it).
PROBES: dict[str, tuple[str, list[str]]] = {
    "P1": (
        "A definition that leads inward is an error that names the rule (`lint`, `check-golive`), and blocked at each "
        "attempt. It may be saved: definitions in any state load, and a name may lead elsewhere later.",
        _there(GOES, "p1_an_inward_address_or_name_in_a_definition_is_an_error_that_names_the_rule",
               "p1_an_inward_literal_is_blocked_in_every_spelling_with_zero_packets"),
    ),
    "P2": (
        "A name that leads inward is blocked: no packet, no second try, a dead letter with the rule.",
        _there(GOES, "p2_a_name_that_leads_inward_is_blocked_with_zero_packets",
               "p2_what_is_blocked_is_dead_with_its_reason_after_one_try_and_none_is_made_again"),
    ),
    "P3": ("One bad answer blocks all.", _there(GOES, "p3_one_bad_answer_among_good_ones_blocks_all")),
    "P4": (
        "One question a connection, and the vetted address is dialled.",
        _there(GOES, "p4_a_name_is_looked_up_once_a_connection_and_the_vetted_address_is_dialled"),
    ),
    "P5": (
        "Each new connection is vetted anew, also the one that replaces a dead one.",
        _there(GOES, "p5_a_kept_connection_goes_on_to_the_vetted_address_and_each_new_one_is_vetted_again",
               "p5_the_connection_that_replaces_a_dead_one_at_once_is_vetted_again"),
    ),
    "P6": (
        "Redirects are not followed; of where they lead, scheme and host are kept: the rest may echo what was sent.",
        _there(GOES, "p6_a_redirect_inward_is_not_followed_and_where_it_leads_is_told_without_its_path",
               "p6_a_location_that_is_none_does_no_harm"),
    ),
    "P7": ("No proxy, no netrc.", _there(GOES, "p7_proxies_and_passwords_of_the_environment_are_not_used")),
    "P8": (
        "Only https, and http where it is allowed. Ports are not restricted: another protocol's hears a TLS hello.",
        _there(GOES, "p8_no_scheme_but_https_and_where_allowed_http_is_dialled",
               "p8_a_port_that_speaks_another_protocol_hears_nothing_but_a_tls_hello"),
    ),
    "P9": (
        "What is judged is what is dialled.",
        _there(GOES, "p9_what_a_confusing_url_is_judged_by_is_what_is_dialled",
               "p9_no_url_that_is_let_through_names_an_inward_host_to_the_parser_that_dials"),
    ),
    "P10": (
        "Certificates and names are checked, TLS is 1.2 or newer, the name is asked for though the address is pinned.",
        _there(BACK, "p10_a_certificate_that_does_not_vouch_for_the_name_is_refused_and_nothing_is_sent",
               "p10_the_name_is_asked_for_and_checked_although_the_address_is_pinned",
               "p10_an_authority_that_nobody_knows_is_none", "p10_old_tls_is_refused"),
    ),
    "P11": (
        "An attempt ends when its time is up, its place is free, and others are served meanwhile.",
        _there(BACK, "p11_an_answer_that_never_comes_ends_when_the_time_is_up",
               "p11_a_body_that_never_ends_is_given_up_when_the_time_is_up_and_the_receiver_has_accepted",
               "p11_a_name_server_and_a_tls_handshake_that_hang_end_when_the_time_is_up_and_stop_nobody_else",
               "p11_the_place_of_an_attempt_that_hung_is_free_for_the_next",
               "p11_a_flood_of_short_answers_leaves_the_event_loop_to_the_others"),
    ),
    "P12": (
        "Giants take less than 5 MB; 64 KB of a body are read, and the beginning is kept where it is asked for.",
        _there(BACK, "p12_a_giant_body_is_cut_off_in_little_memory_and_its_connection_closed",
               "p12_a_head_without_measure_is_no_http_and_takes_little_memory",
               "p12_a_million_trailers_take_little_memory", "p12_a_body_of_just_the_limit_keeps_the_connection"),
    ),
    "P13": ("Nothing is unpacked.", _there(BACK, "p13_a_bomb_is_not_unpacked", "the_bombs_are_some")),
    "P14": (
        "The status line decides, once.",
        _there(BACK, "p14_the_status_line_alone_decides_once_and_what_broke_off_is_noted",
               "p14_what_came_on_an_idle_connection_is_no_answer_to_the_next_request"),
    ),
    "P15": (
        "A visitor's value stays a value in path, query, header, JSON, form and XML, or nothing is sent.",
        _there(BODIES, "p15_a_hostile_trait_is_a_value_wherever_it_stands_or_nothing_is_sent",
               "p15_half_a_surrogate_pair_is_never_sent", "a_value_adds_nothing_to_json",
               "a_value_adds_no_pair_to_a_form", "a_value_adds_no_part_to_form_data", "a_value_adds_nothing_to_xml")
        + _there(TEMPLATES, "a_value_never_becomes_a_second_parameter",
                 "whatever_a_visitor_sends_there_are_as_many_headers",
                 "whatever_a_visitor_sends_the_path_has_as_many_segments")
        + _there(REQUEST, "a_header_value_that_could_add_a_header_is_never_sent", "no_target_changes_the_host"),
    ),
    "P16": ("No template reaches the interpreter.",
            _there(FILTERS, "p16_what_reaches_for_the_interpreter_is_refused")),
    "P17": ("No template asks for much.",
            _there(FILTERS, "p17_what_asks_for_too_much_is_refused_in_no_time",
                   "p17_no_statement_of_other_template_languages_does_anything",
                   "nothing_grows_by_more_than_what_is_written_in_the_template")),
    "P18": ("A template in a value is text.", _there(FILTERS, "p18_a_template_in_a_value_is_never_rendered_again")),
    "P19": (
        "No secret shows anywhere.",
        _there(SECRETS, "no_attempt_however_it_fails_shows_a_secret", "no_definition_that_is_refused_shows_a_secret",
               "neither_settings_nor_metrics_show_a_key")
        + _there("e2e/test_secrets", "what_is_written_out_is_sent_and_otherwise_seen_nowhere"),
    ),
    "P20": (
        "Each attempt is signed anew over the same id and bytes, and foreign verifiers agree in any time zone.",
        _there(SIGN, "a_standard_webhooks_signature_verifies_elsewhere_in_any_time_zone",
               "each_attempt_is_signed_anew_with_the_same_id", "signatures_always_verify")
        + _there(REQUEST, "each_attempt_has_another_signature_and_time_but_the_same_id_and_body"),
    ),
    "P21": (
        "While a secret is changed both verify; there are ten at the most.",
        _there(SIGN, "every_secret_signs_while_one_is_being_changed")
        + _there("unit/test_sealing", "a_secret_rotated_eleven_times_has_ten_signatures_at_the_most"),
    ),
    "P22": (
        "`Retry-After` only ever delays, within a cap.",
        _there("hostile/test_verdicts", "p22_retry_after_only_ever_delays_within_a_cap_and_junk_is_ignored")
        + _there("unit/test_retry", "retry_after_only_ever_delays", "no_retry_after_can_make_us_fail"),
    ),
    "P23": (
        "Each row of the table in `deliver/retry.py`. A 410 ends one delivery and disables nothing.",
        _there("hostile/test_verdicts", "p23_each_status_is_tried_as_often_as_the_table_says",
               "p23_what_brings_no_answer_is_tried_to_the_end_of_the_schedule"),
    ),
    "P24": (
        "One that hangs holds up nobody.",
        _there(WORKER, "a_slow_integration_does_not_hold_up_the_others",
               "the_limit_on_requests_in_flight_holds_over_partitions_and_integrations"),
    ),
    "P25": (
        "A backlog drains at the rate that is set, after probes, and holds up nobody else.",
        _there(BY_INTEGRATION, "no_more_requests_start_than_the_rate_allows", "a_rate_limit_holds_up_nobody_else",
               "a_receiver_that_fails_is_left_alone_but_for_probes_and_gets_everything_when_it_is_well"),
    ),
    "P26": (
        "Killed at every await: nothing is lost, every repetition has the same id and bytes. `make prove` does more.",
        _there("proof/test_crash_points", "a_worker_killed_anywhere_loses_nothing_and_decides_nothing_twice"),
    ),
    "P27": (
        "Whatever is deleted, paused or moved: a verdict for each delivery, and the partition goes on.",
        _there(TIME, "p27_a_deleted_webhook_still_owes_what_it_owed_and_stops_nothing",
               "p27_an_integration_that_moves_takes_what_is_pending_along_and_one_that_is_deleted_ends_it")
        + _there(WORKER, "an_inactive_integration_holds_its_deliveries_without_counting_attempts"),
    ),
    "P28": (
        "While the store is away nothing is sent twice; it is settled after.",
        _there(TIME, "p28_while_the_store_is_away_what_was_accepted_is_not_sent_again_and_is_settled_after")
        + _there(WORKER, "a_store_that_is_away_loses_nothing_and_repeats_nothing"),
    ),
    "P29": (
        "There is no retention job: the journal has a length, and what acknowledges cuts it, in bounded steps.",
        _there(TIME, "p29_the_journal_is_cut_to_its_length_in_steps_whatever_it_held"),
    ),
    "P30": (
        "The collector refuses what actionmap has sent, however deep it says it is; chains by outcomes end after five.",
        _there(TIME, "p30_a_webhook_into_the_own_collector_is_refused_once_and_counted",
               "p30_what_actionmap_sent_is_no_event_whatever_else_it_says",
               "p30_who_may_not_send_events_is_not_told_of_loops")
        + _there("integration/test_outcomes", "maps_that_trigger_one_another_stop_after_five_links"),
    ),
    "P31": (
        "Schemas refer to nothing, patterns are linear, paths have no filters; none takes long.",
        _there(LEARNED, "p31_a_schema_that_refers_elsewhere_is_refused_without_a_packet",
               "p31_a_base_from_elsewhere_is_not_fetched", "p31_no_pattern_takes_long_on_50_kb",
               "p31_a_deep_path_is_refused_in_no_time",
               "p31_a_long_answer_is_searched_without_keeping_the_others_waiting"),
    ),
    "P32": (
        "What is blocked looks the same whatever is behind it: nothing is dialled.",
        _there("integration/test_webhooks_tried_out",
               "an_open_and_a_closed_port_of_a_blocked_address_cannot_be_told_apart"),
    ),
    "P33": (
        "There is no HTTP/2.",
        _there(BACK, "p33_http_2_is_not_offered", "p33_an_answer_in_http_2_is_none"),
    ),
}  # fmt: skip


@cache
def _tests_of(module: str) -> frozenset[str]:
    tree = ast.parse((TESTS / module).read_text(encoding="utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_probe_has_a_row() -> None:
    assert list(PROBES) == [f"P{number}" for number in range(1, 34)]


@pytest.mark.parametrize("probe", PROBES)
def test_every_test_that_a_row_names_exists(probe: str) -> None:
    promise, tests = PROBES[probe]
    assert promise
    assert tests
    for module, name in (test.split("::") for test in tests):
        assert name in _tests_of(module), f"{module} has no {name}"


def test_every_test_that_is_named_after_a_probe_stands_in_its_row() -> None:
    for module in TESTS.glob("*/test_*.py"):
        for name in _tests_of(module.relative_to(TESTS).as_posix()):
            if name.startswith("test_p") and name[6:].split("_")[0].isdecimal():
                row = PROBES[f"P{name[6:].split('_')[0]}"][1]
                assert f"{module.relative_to(TESTS).as_posix()}::{name}" in row, name
