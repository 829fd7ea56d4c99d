"""What is remembered of events, found by the event: where much asks for one name, through an index as maps are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from actionmap.catalog.clauses import Clauses
from actionmap.catalog.index import Index
from actionmap.catalog.rulebook import Memories
from actionmap.catalog.windows import Memory, merged

#: To go through so many costs less than to look them up.
_FEW = 16


class _Indexed(NamedTuple):
    """A memory as the index takes it: with a name and a place among all."""

    memory: Memory

    @property
    def name(self) -> str:
        return self.memory.key

    @property
    def order(self) -> tuple[int, str]:
        return 0, self.memory.key


def compile_memories(memories: Iterable[Memory], before: Mapping[str, Memories]) -> dict[str, Memories]:
    """What to note, by the name of the event.

    Args:
        memories: Those of all triggers.
        before: What this led to before; an index is changed by what has changed.
    """
    return {event: _memories(some, before.get(event)) for event, some in merged(memories).items()}


def _memories(some: tuple[Memory, ...], before: Memories | None) -> Memories:
    if len(some) <= _FEW:
        return Memories(some)
    entries: list[tuple[Any, Clauses]] = [
        (_Indexed(memory), memory.clauses) for memory in sorted(some, key=lambda memory: memory.key)
    ]
    if before is None or before.index is None:
        return Memories(some, Index(entries))
    known = {memory.key: memory for memory in before.all}
    added = [entry for entry in entries if known.get(entry[0].name) is not entry[0].memory]
    gone = known.keys() - {memory.key for memory in some}
    index = before.index.with_changes(gone, added) if added or gone else before.index
    return Memories(some, index.merged() if index.overgrown else index)
