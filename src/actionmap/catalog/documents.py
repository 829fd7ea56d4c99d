"""YAML → documents with the line of every value. YAML is read as 1.2: only ``true`` and ``false`` are booleans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from actionmap.errors import DefinitionError, Finding

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
#: Longer numbers, and those that no float holds, stay text.
_MAX_DIGITS = 400
#: Suffix of the files beside the rules that hold test cases, not definitions.
CASES_SUFFIX = ".cases.yaml"

#: What libyaml says → what was probably meant.
_HINTS = {
    "mapping values are not allowed": "; a text that holds ': ' stands in quotes",
    "could not find expected ':'": "; a key is followed by ': ', a list item begins with '- '",
    "did not find expected key": "; keys of one mapping begin in the same column",
    "did not find expected '-' indicator": "; items of one list begin in the same column",
    "cannot start any token": "; indent with spaces, and put a text with such a character in quotes",
}
_QUOTED = ("'", '"', "|", ">")

PathKey = tuple[str | int, ...]

# The core schema of YAML 1.2.2, §10.3.2.
_NULL = re.compile(r"^(null|Null|NULL|~|)$")
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_OCTAL_OR_HEX = re.compile(r"^(0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
#: What a plain text looks like that is read as something else.
NOT_TEXT = (_NULL, _BOOL, _INT, _OCTAL_OR_HEX, _FLOAT)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One YAML document (or one JSON object) and where its values stand."""

    data: Any
    file: str = ""
    #: Line, counted from 1, of each value in the order in which they stand; of one that has a key, that of the key.
    lines: Sequence[int] = ()

    @cached_property
    def _line_at(self) -> Mapping[PathKey, int]:
        # Only findings ask for it, and of ten thousand documents few have any.
        return dict(zip(_paths(self.data, ()), self.lines, strict=False))

    def line(self, path: PathKey) -> int:
        """The line of the value at ``path``, or of the nearest one around it; 0 when unknown."""
        while path and path not in self._line_at:
            path = path[:-1]
        return self._line_at.get(path, 0)


def _paths(value: Any, path: PathKey) -> Iterator[PathKey]:
    """The paths of all values, in the order in which they stand."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from _paths(inner, (*path, key))


def read_folder(folder: Path, *, may_be_empty: bool = False) -> list[Document]:
    """All documents of the ``*.yaml`` and ``*.yml`` files below ``folder``, test cases left out, in order of file name.

    Raises:
        DefinitionError: the folder or a file cannot be read, or is no YAML; all files' findings at once. There are no
            documents, unless ``folder`` may be empty.
    """
    if not folder.is_dir():
        raise DefinitionError([Finding(message=f"there is no folder {folder}")])
    documents: list[Document] = []
    findings: list[Finding] = []
    for path in definition_files(folder):
        try:
            documents.extend(read_file(path))
        except DefinitionError as error:
            findings.extend(error.findings)
    if findings:
        raise DefinitionError(findings)
    if not documents and not may_be_empty:
        raise DefinitionError([Finding(message=f"there are no definitions (*.yaml) in {folder}")])
    return documents


def definition_files(folder: Path) -> list[Path]:
    """The files that `read_folder` reads."""
    paths = sorted(path for path in folder.rglob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    return [path for path in paths if not path.name.endswith(CASES_SUFFIX)]


def read_file(path: Path) -> list[Document]:
    """The documents of one file.

    Raises:
        DefinitionError: it cannot be read, or is no YAML.
    """
    return read_documents(_read_text(path), str(path))


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise DefinitionError([Finding(file=str(path), message=f"larger than {MAX_FILE_BYTES:,} bytes")])
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DefinitionError([Finding(file=str(path), line=line, message="is not UTF-8")]) from None
    except OSError as error:
        raise DefinitionError([Finding(file=str(path), message=f"cannot be read: {error.strerror}")]) from None


def read_documents(text: str, file: str = "") -> list[Document]:
    """The documents of one YAML text; empty ones are left out.

    Raises:
        DefinitionError: ``text`` is no YAML, with the line and what was expected there.
    """
    try:
        return list(_documents(text, file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f"{error.context}, " if error.context else ""
        hint = next((hint for words, hint in _HINTS.items() if words in str(error.problem)), "")
        message = f"no YAML: {context}{error.problem}{hint}"
        raise DefinitionError([Finding(file=file, line=mark.line + 1 if mark else 0, message=message)]) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise DefinitionError([Finding(file=file, line=line, message=f"no YAML: {error.reason}")]) from None


def _documents(text: str, file: str) -> Iterator[Document]:
    # Not `yaml.parse`, which asks before each of its half a million events whether there is one.
    following: Callable[[], Any] = yaml.CSafeLoader(text).get_event
    while not isinstance(event := following(), yaml.StreamEndEvent):
        if isinstance(event, yaml.DocumentStartEvent):
            root = following()
            if not _is_empty(root):
                yield _Reader(following, file).document(root)


def _is_empty(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "" and event.style not in _QUOTED


class _Reader:
    """Turns the events of one document into plain values, and notes their lines, in one pass."""

    def __init__(self, following: Callable[[], Any], file: str) -> None:
        """``following``: gives the next event, which always has a mark; the annotations of yaml say that it may not."""
        self._following = following
        self._file = file
        self._lines: list[int] = []

    def document(self, root: Any) -> Document:
        self._lines.append(root.start_mark.line + 1)
        data = self._value(root, 0)
        return Document(data=data, file=self._file, lines=self._lines)

    def _fail(self, event: Any, message: str) -> DefinitionError:
        return DefinitionError([Finding(file=self._file, line=event.start_mark.line + 1, message=message)])

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent) and not event.tag:
            return _scalar(event)
        self._check_form(event, depth)
        return self._list(depth + 1) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth + 1)

    def _check_form(self, event: Any, depth: int) -> None:
        """Refuse tags, aliases, and depths at which reading would end the process."""
        if isinstance(event, yaml.AliasEvent):
            # An unquoted password may look like one, so it is not shown.
            message = "the alias (*…) is not taken; write it out, and put a text that begins with * in quotes"
            raise self._fail(event, message)
        if event.tag:
            raise self._fail(event, "the tag (!…) is not taken; a text that begins with ! stands in quotes")
        if depth >= MAX_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            raise self._fail(event, f"nested more than {MAX_DEPTH} levels deep")

    def _list(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._following(), yaml.SequenceEndEvent):
            self._lines.append(event.start_mark.line + 1)
            values.append(self._value(event, depth))
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while not isinstance(event := self._following(), yaml.MappingEndEvent):
            self._lines.append(event.start_mark.line + 1)
            if not isinstance(event, yaml.ScalarEvent) or event.tag:
                self._check_form(event, depth)
                raise self._fail(event, "a key is a text")
            key = event.value
            if key in pairs:
                raise self._fail(event, f"the key {key!r} stands here twice")
            pairs[key] = self._value(self._following(), depth)
        return pairs


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.style in _QUOTED or len(text) > _MAX_DIGITS:
        return text
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text)
    if _OCTAL_OR_HEX.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) and isfinite(float(text)) else text
