"""Tables from a value to what it finds: by equality, prefix, suffix, keyword, or by being there at all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import ahocorasick

from actionmap.catalog.index.terms import EQUALITY, IN_LIST, Kind
from actionmap.catalog.values import decimal_value, fold

Found = TypeVar("Found")
#: What is found, by key, by kind of key.
ByKind = Mapping[Kind, Mapping[Any, Found]]
_NOTHING: Mapping[Any, Any] = {}
#: Longer texts are not remembered: they are rare, and visitors could fill the memory with them.
MEMOISED_CHARACTERS = 200
#: Texts that one table remembers.
_MEMOISED_TEXTS = 512


class _InText(Protocol[Found]):
    """Finds by a part of a text."""

    def find(self, text: str, found: list[Found]) -> None: ...


_Parts = tuple[_InText[Found], ...]


class _Prefixes(Generic[Found]):
    """The longest stored prefix of a text is its predecessor in sorted order, or one of that one's own prefixes."""

    __slots__ = ("_found", "_parents", "_sorted")

    def __init__(self, by_prefix: Mapping[str, Found]) -> None:
        self._sorted = sorted(by_prefix)
        self._found = [by_prefix[prefix] for prefix in self._sorted]
        self._parents: list[int] = []
        open_places: list[int] = []
        for place, prefix in enumerate(self._sorted):
            while open_places and not prefix.startswith(self._sorted[open_places[-1]]):
                open_places.pop()
            self._parents.append(open_places[-1] if open_places else -1)
            open_places.append(place)

    def find(self, text: str, found: list[Found]) -> None:
        place = bisect_right(self._sorted, text) - 1
        while place >= 0:
            if text.startswith(self._sorted[place]):
                found.append(self._found[place])
            place = self._parents[place]


class _Suffixes(Generic[Found]):
    """Suffixes are prefixes of what is read backwards."""

    __slots__ = ("_reversed",)

    def __init__(self, by_suffix: Mapping[str, Found]) -> None:
        self._reversed = _Prefixes({suffix[::-1]: some for suffix, some in by_suffix.items()})

    def find(self, text: str, found: list[Found]) -> None:
        self._reversed.find(text[::-1], found)


class _Keywords(Generic[Found]):
    """All keywords in a text in one pass over it (Aho and Corasick, 1975)."""

    __slots__ = ("_automaton", "_in_every_text")

    def __init__(self, by_keyword: Mapping[str, Found]) -> None:
        self._in_every_text = [some for keyword, some in by_keyword.items() if not keyword]
        self._automaton = ahocorasick.Automaton()
        for keyword, some in by_keyword.items():
            self._automaton.add_word(keyword, some)
        self._automaton.make_automaton()

    def find(self, text: str, found: list[Found]) -> None:
        found.extend(self._in_every_text)
        if self._automaton:
            found.extend([some for _, some in self._automaton.iter(text)])


class _Scalars(Generic[Found]):
    """Finds by one value that is no list."""

    __slots__ = ("_bools", "_decimals", "_folded", "_in_element", "_in_text", "_numbers", "_texts")

    def __init__(self, by_kind: ByKind[Found]) -> None:
        self._texts, self._folded, self._bools, self._numbers, self._decimals = (
            by_kind.get(kind, _NOTHING) for kind in EQUALITY
        )
        plain, folded = _ends(by_kind, Kind.PREFIX, Kind.SUFFIX), _ends(by_kind, Kind.FOLDED_PREFIX, Kind.FOLDED_SUFFIX)
        self._in_element = plain, folded
        #: Keywords are looked for in a text, and not in those of a list.
        self._in_text = (*plain, *_keywords(by_kind, Kind.KEYWORD)), (*folded, *_keywords(by_kind, Kind.FOLDED_KEYWORD))

    def find(self, value: Any, found: list[Found], *, in_list: bool = False) -> None:
        if isinstance(value, str):
            self._find_text(value, found, *(self._in_element if in_list else self._in_text))
        elif isinstance(value, bool):
            if value in self._bools:
                found.append(self._bools[value])
        elif isinstance(value, int | float):
            if value in self._numbers:
                found.append(self._numbers[value])
            if value in self._decimals:
                found.append(self._decimals[value])

    def _find_text(self, text: str, found: list[Found], parts: _Parts[Found], folded_parts: _Parts[Found]) -> None:
        if text in self._texts:
            found.append(self._texts[text])
        for part in parts:
            part.find(text, found)
        if self._folded or folded_parts:
            folded = fold(text)
            if folded in self._folded:
                found.append(self._folded[folded])
            for part in folded_parts:
                part.find(folded, found)
        if self._numbers and (number := decimal_value(text)) in self._numbers:
            found.append(self._numbers[number])
        if self._bools and text in ("true", "false") and (text == "true") in self._bools:
            found.append(self._bools[text == "true"])


def _ends(by_kind: ByKind[Found], prefix: Kind, suffix: Kind) -> _Parts[Found]:
    prefixes = (_Prefixes(by_kind[prefix]),) if prefix in by_kind else ()
    return (*prefixes, _Suffixes(by_kind[suffix])) if suffix in by_kind else prefixes


def _keywords(by_kind: ByKind[Found], kind: Kind) -> _Parts[Found]:
    return (_Keywords(by_kind[kind]),) if kind in by_kind else ()


class Table(Generic[Found]):
    """Finds by the value of one path; what is found may come more than once."""

    __slots__ = ("_elements", "_found", "_present", "_scalars")

    def __init__(self, by_kind: ByKind[Found]) -> None:
        """Take over what is to be found, by key, by kind of key."""
        self._present = by_kind.get(Kind.PRESENT)
        self._scalars = _Scalars(by_kind)
        in_list = {kind: by_kind[other] for kind, other in IN_LIST.items() if other in by_kind}
        self._elements = _Scalars(in_list) if in_list else None
        #: What the short texts asked for last have found: most values come again and again.
        self._found: dict[str, Sequence[Found]] = {}

    def find(self, value: Any) -> Sequence[Found]:
        """What ``value`` finds; a list finds what any of its elements does, and None, a missing value, nothing."""
        if not isinstance(value, str):
            return self._find(value)
        found = self._found.get(value)
        if found is None:
            # Nothing is found most often, and the empty tuple is the same everywhere.
            found = tuple(self._find(value))
            if len(value) <= MEMOISED_CHARACTERS:
                if len(self._found) >= _MEMOISED_TEXTS:
                    self._found.clear()
                self._found[value] = found
        return found

    def _find(self, value: Any) -> list[Found]:
        found: list[Found] = []
        if value is None:
            return found
        if self._present is not None:
            found.append(self._present[None])
        if isinstance(value, list):
            for element in value:
                self._scalars.find(element, found, in_list=True)
                if self._elements is not None:
                    self._elements.find(element, found)
        else:
            self._scalars.find(value, found)
        return found
