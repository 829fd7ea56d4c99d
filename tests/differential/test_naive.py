"""On everything that the language can say, our index and compiled triggers find what a plain tree walk finds."""

from typing import Any

from hypothesis import given, settings
from naive import holds
from worlds import comparisons, compiled, definitions, histories, orders, ours, visits, worlds, written_triggers

few = settings.get_profile("differential")
#: Without another process it is quick.
differential = settings(few, max_examples=5 * few.max_examples)


def agree(world: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    written, seen = world
    defined = definitions(written)
    rulebook = compiled(defined)
    triggers = written_triggers(defined)
    for history in histories(visits(seen), rulebook):
        expected = {name for name, trigger in triggers.items() if holds(trigger, history)}
        assert ours(rulebook, history[-1]) == expected


@settings(differential)
@given(worlds)
def test_every_map_matches_exactly_where_the_tree_walk_says_so(world):
    agree(world)


@settings(differential)
@given(comparisons)
def test_every_comparison_with_every_kind_of_value_is_as_the_tree_walk_says(world):
    agree(world)


@settings(differential)
@given(orders)
def test_every_count_and_sequence_is_as_looking_at_all_events_again_says(world):
    agree(world)
