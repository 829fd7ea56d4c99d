"""Triggers as hypothesis makes them up, for all tests that compare what is made of one."""

from typing import Any

from hypothesis import strategies as st


def nested(leaves: st.SearchStrategy[dict[str, Any]], most: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """``leaves`` under ``all``, ``any`` and ``not``, ``most`` of them in all."""

    def around(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        several = st.lists(inner, min_size=1, max_size=3)
        return (
            several.map(lambda parts: {"all": parts})
            | several.map(lambda parts: {"any": parts})
            | inner.map(lambda part: {"not": part})
        )

    return st.recursive(leaves, around, max_leaves=most)
