"""Filters of templates: each makes one value of one value, and what cannot be meant is refused when it is saved."""

import time
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.catalog.templates import BadTemplate, compile_text

FIELDS = ("a", "b", "c", "first-name")


def made(template: str, **values: object) -> object:
    return compile_text(template, FIELDS)(values)


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("{{ a | upper }}", "straße", "STRASSE"),
        ("{{ a | lower }}", "ÄB", "äb"),
        ("{{ a | trim }}", " \t x y\n", "x y"),
        ("{{a|trim|upper}}", " x ", "X"),
        ("{{ a | upper }}", True, "TRUE"),
        ("{{ a | trim }}", 10.0, "10"),
        ("{{ a | sha256 }}", "Ann@Example.com ", sha256(b"Ann@Example.com ").hexdigest()),
        ("{{ a | trim | lower | sha256 }}", "Ann@Example.com ", sha256(b"ann@example.com").hexdigest()),
        ("{{ a | sha256 }}", "", sha256(b"").hexdigest()),
        ("{{ a | default('x') }}", "y", "y"),
        ("{{ a | default('x') }}", "", ""),
        ("{{ a | default('x') }}", 10, 10),
        ("{{ a | default('x') }}", None, "x"),
        ("{{ a | default('}} | {{') }}", None, "}} | {{"),
        ('{{ a | default("it\'s") }}', None, "it's"),
        ("{{ a | upper | default('none') }}", None, "none"),
        ("{{ a | default('none') | upper }}", None, "NONE"),
        ("<{{ a | upper }}>", None, "<>"),
    ],
)
def test_a_filter_makes_one_value_of_another(template, value, expected):
    result = made(template, a=value)
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize("name", ["upper", "lower", "trim", "sha256", "e164", 'date("YYYY")', 'join("-", b)'])
def test_null_stays_null_whatever_the_filter(name):
    assert made(f"{{{{ a | {name} }}}}", a=None) is None


def test_a_field_that_is_left_out_has_its_default_and_otherwise_stays_left_out():
    assert made("{{ a | default('x') }}") == "x"
    assert made("{{ a | upper }}") is made("{{ a }}")
    assert made("{{ a | join('-', b) }}") is made("{{ a }}")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": "Ann", "b": "Lee"}, "Ann Lee"),
        ({"a": "Ann", "b": None}, "Ann"),
        ({"a": None, "b": "Lee"}, "Lee"),
        ({"b": "Lee"}, "Lee"),
        ({"a": "", "b": ""}, ""),
        ({"a": 1, "b": False, "first-name": "x"}, "1 false x"),
    ],
)
def test_join_puts_together_what_is_there(values, expected):
    assert made("{{ a | join(' ', b, first-name) }}", **values) == expected


# --- date


@pytest.mark.parametrize(
    ("arguments", "value", "expected"),
    [
        ('"MM/DD/YYYY HH:mm"', "2026-11-21T19:15:00.123Z", "11/21/2026 19:15"),
        ('"MM/DD/YYYY HH:mm", "Europe/Berlin"', "2026-11-21T19:15:00.123Z", "11/21/2026 20:15"),
        ('"DD.MM.YY", "Pacific/Auckland"', "2026-11-21T19:15:00Z", "22.11.26"),
        ('"YYYY-MM-DDTHH:mm:ss.SSSZ"', "2026-11-21T19:15:07.123456+05:30", "2026-11-21T13:45:07.123+00:00"),
        ('"Z", "America/St_Johns"', "2026-11-21T00:00:00Z", "-03:30"),
        ('"h:mm A"', "2026-11-21T00:05:00Z", "12:05 AM"),
        ('"hh:mm A"', "2026-11-21T13:05:00Z", "01:05 PM"),
        ('"D.M. H[ Uhr]"', "2026-01-02T03:00:00Z", "2.1. 3 Uhr"),
        ('"[YYYY] YYYY"', "2026-01-02T03:00:00Z", "YYYY 2026"),
        ('"YYYYMMDD"', "2026-01-02", "20260102"),
        ('"YYYY-MM-DD HH:mm", "Asia/Tokyo"', "2026-01-02", "2026-01-02 00:00"),
        ('"YYYY"', "0009-01-02T00:00:00Z", "0009"),
        ('""', "2026-01-02", ""),
    ],
)
def test_a_time_is_written_as_the_format_says(arguments, value, expected):
    assert made(f"{{{{ a | date({arguments}) }}}}", a=value) == expected


@pytest.mark.parametrize(
    "value",
    ["", "soon", "2026-02-30", "2026-02-30T00:00:00Z", "2026-11-21T19:15:00", "21.11.2026", 1_700_000_000, "x" * 10**6,
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "２０２６-01-01"],
)  # fmt: skip
def test_what_is_no_time_is_null(value):
    assert made('{{ a | date("YYYY", "America/New_York") }}', a=value) is None


# --- e164


@pytest.mark.parametrize(
    ("arguments", "value", "expected"),
    [
        ('("DE")', "030 901820", "+4930901820"),
        ('("DE")', "+1 650-253-0000", "+16502530000"),
        ('("US")', "(650) 253-0000 ext. 12", "+16502530000"),
        ("", "+49 30 901820", "+4930901820"),
        ("()", "0049 30 901820", None),
        ("", "030 901820", None),
        ('("DE")', "12", None),
        ('("US")', "555", None),
        ('("DE")', "no number", None),
        ('("DE")', "", None),
        ('("DE")', "+" * 10**6, None),
        ('("DE")', 4930901820, "+4930901820"),
    ],
)
def test_a_phone_number_is_written_as_e164_or_counts_as_null(arguments, value, expected):
    assert made(f"{{{{ a | e164{arguments} }}}}", a=value) == expected


# --- what is refused when it is saved


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ a | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ a | safe }}", "there is no filter 'safe'"),
        ("{{ a | upper('x') }}", "the filter upper is written as | upper"),
        ("{{ a | default }}", "the filter default is written as"),
        ("{{ a | default() }}", "the filter default is written as"),
        ("{{ a | default(b) }}", "the filter default is written as"),
        ("{{ a | default('x', 'y') }}", "the filter default is written as"),
        ("{{ a | default(10) }}", 'the filter default is written as | default("text")'),
        ("{{ a | join('-') }}", "the filter join is written as"),
        ("{{ a | join(b, '-') }}", "the filter join is written as"),
        ("{{ a | join('-', d) }}", "'d' is no field of the input contract"),
        ("{{ a | join('-', first_name) }}", "did you mean 'first-name'?"),
        ("{{ a | date }}", "the filter date is written as"),
        ("{{ a | date('YYYY', 'Berlin') }}", "'Berlin' is no time zone"),
        ("{{ a | date('YYYY', '../../etc/passwd') }}", "is no time zone"),
        ("{{ a | date('DD.MM.yyyy') }}", "there is no 'yyyy'"),
        ("{{ a | date('DD MMM') }}", "there is no 'MMM'"),
        ("{{ a | date('H Uhr') }}", "text stands in [square brackets]"),
        ("{{ a | e164('de') }}", "e164 takes a country"),
        ("{{ a | e164('XX') }}", "e164 takes a country"),
        ("{{ a | }}", "a filter is written as"),
        ("{{ a || upper }}", "a filter is written as"),
        ("{{ a | upper.lower }}", "a filter is written as"),
        ("{{ a | default('x' }}", "the filter default is written as"),
        ("{{ a | default('x) }}", "without its other half"),
        ("{{ | upper }}", "names no field"),
        ("{{ 'x' | upper }}", "names no field"),
    ],
)
def test_what_cannot_be_meant_is_refused(template, said):
    with pytest.raises(BadTemplate) as error:
        compile_text(template, FIELDS)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "inside",
    [
        "''.__class__",
        "'{0.__class__}'.format(1)",
        "''|attr('__class__')",
        "cycler.__init__.__globals__",
        "self._TemplateReference__context",
        "a.__class__",
        "a|attr('__class__')",
        "a | map('upper')",
        "a()",
        "a[0]",
        "a if b else c",
        "b ~ c",
    ],
)
@pytest.mark.parametrize("around", ["{{ %s }}", "{{%s}}", "x{{ %s }}y"])
def test_p16_what_reaches_for_the_interpreter_is_refused(inside, around):
    with pytest.raises(BadTemplate):
        compile_text(around % inside, FIELDS)


@pytest.mark.parametrize(
    "inside",
    [
        "'x'*10**8",
        "a*10**8",
        "'%0100000000d'|format(1)",
        "'x'|center(10**8)",
        "a|center(10**8)",
        "a|center('100000000')",
        "a|indent('99999999')",
        "range(100000)",
        "a | " + "('" * 50_000,
        "a " + "| upper(" * 20_000,
        "a" + " " * 50_000 + "!",
        "a" + "|x(" + " " * 50_000,
        "a" + "'" * 49_999,
    ],
)
def test_p17_what_asks_for_too_much_is_refused_in_no_time(inside):
    started = time.perf_counter()
    with pytest.raises(BadTemplate):
        compile_text(f"{{{{ {inside} }}}}", FIELDS)
    assert time.perf_counter() - started < 0.05


def test_p17_no_statement_of_other_template_languages_does_anything():
    text = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"
    assert made(text) == text


@pytest.mark.parametrize("filters", ["", " | trim", " | default('x')", " | join('-', b)"])
def test_p18_a_template_in_a_value_is_never_rendered_again(filters):
    assert made(f"{{{{ a{filters} }}}}", a="{{7*7}} {{ b | upper }}") == "{{7*7}} {{ b | upper }}"


@given(st.text(), st.text())
def test_nothing_grows_by_more_than_what_is_written_in_the_template(one, two):
    for filters in ("trim", "lower | upper | lower | upper", "default('abc')", "join('abc', b)", "date('YYYY')"):
        result = made(f"{{{{ a | {filters} }}}}", a=one, b=two)
        assert len(result or "") <= 3 * len(one) + len(two) + 3
