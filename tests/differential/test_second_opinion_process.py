"""durable-rules may hang or crash: that is an answer of its process, and the next event is judged again."""

import pytest
from test_durable_rules import missing

from actionmap.errors import ActionmapError
from actionmap.second_opinion import process
from actionmap.second_opinion.process import Child, Died

RULES = '{"r": {"all": [{"m": {"$and": [{"$ex": {"on": 1}}, {"a": 1}]}}]}}'
FACT = '{"id": "1", "sid": "1", "on": 1, "a": 1}'
here = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def child():
    child = Child(timeout_s=1.0)
    yield child
    child.close()


@here
def test_a_rule_set_that_crashes_the_engine_ends_a_fork_alone(child):
    alternatives = "|".join(f".*kw{number}.*" for number in range(300))
    wrong = child.attempt(RULES.replace('{"a": 1}', f'{{"$mt": {{"a": "{alternatives}"}}}}'))
    assert wrong is not None
    child.load(RULES)
    assert child.fired([FACT]) == [["r"]]


@here
def test_a_rule_set_that_never_ends_is_given_up(child):
    equalities = ", ".join(f'"r{n}": {{"all": [{{"m": {{"a": {n}}}}}]}}' for n in range(600))
    assert child.attempt(f"{{{equalities}}}") is not None


@here
def test_after_a_crash_another_process_has_the_same_rules(child):
    child.load(RULES)
    assert child.fired([FACT]) == [["r"]]
    child._process.kill()
    with pytest.raises(Died):
        child.fired([FACT])
    assert child.fired([FACT]) == [["r"]]


def test_without_durable_rules_the_error_says_which_extra_to_install(monkeypatch):
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    with pytest.raises(ActionmapError, match=r"actionmap\[durable\]"):
        Child()
