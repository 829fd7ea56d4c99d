"""Document → Definition, with findings that name the place, what was expected, and the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from actionmap.catalog.documents import MAX_DEPTH, Document, PathKey
from actionmap.catalog.models import KINDS, Definition
from actionmap.catalog.models.auth import AUTH_TYPES
from actionmap.catalog.models.trigger import TRIGGER_TAGS
from actionmap.errors import DefinitionError, Finding

#: A set of definitions by their key ``Kind/name``.
Definitions = Mapping[str, Definition]


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known word that ``word`` most likely is, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def parse_definition(document: Document, kind: str | None = None) -> Definition:
    """The definition that ``document`` holds.

    Args:
        document: An object with ``kind`` and the fields of that kind.
        kind: The kind, where the place it came from tells it; then ``kind`` may be missing in the document.

    Raises:
        DefinitionError: it is none; all findings at once, with file and line.
    """
    data = document.data
    if not isinstance(data, dict):
        raise _failed(document, "", [((), "a definition is a mapping with kind, name and more")])
    written = data.get("kind", kind)
    if not isinstance(written, str) or written not in KINDS or (kind is not None and written != kind):
        expected = kind or f"one of {', '.join(KINDS)}"
        hint = nearest(str(written), KINDS) if kind is None else ""
        raise _failed(document, "", [(("kind",), f"kind is {written!r}; expected {expected}{hint}")])
    fields = {key: value for key, value in data.items() if key != "kind"}
    subject = f"{written} {fields.get('name', '?')}"
    if _is_deeper(data, MAX_DEPTH):
        raise _failed(document, "", [((), f"nested more than {MAX_DEPTH} levels deep")])
    misplaced = [
        (path, "a reference to a secret stands only in auth and signing")
        for path in _places_of_secrets(fields)
        if written != "Integration" or path[0] not in ("auth", "signing")
    ]
    if misplaced:
        raise _failed(document, subject, misplaced)
    try:
        return KINDS[written].model_validate(fields)
    except ValidationError as error:
        raise _failed(document, subject, _readable(written, error.errors(include_url=False))) from None


_CONTAINERS = (dict, list)


def _is_deeper(container: dict[str, Any], levels: int) -> bool:
    layer: list[Any] = [container]
    for _ in range(levels):
        layer = [inner for one in layer for inner in _inside(one) if isinstance(inner, _CONTAINERS)]
        if not layer:
            return False
    return True


def _inside(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


_REFERENCE = "${ACTIONMAP_SECRET_"


def _places_of_secrets(fields: dict[str, Any]) -> Iterable[PathKey]:
    """Where in ``fields`` a text refers to a secret."""
    # Ten thousand definitions are read to be planned; nearly none of them holds one.
    return _secret_references(fields) if _REFERENCE in repr(fields) else ()


def _secret_references(value: Any, path: PathKey = ()) -> Iterator[PathKey]:
    if isinstance(value, str) and _REFERENCE in value:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secret_references(inner, (*path, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secret_references(inner, (*path, index))


def parse_documents(
    documents: Iterable[Document], stored: Definitions | None = None
) -> tuple[dict[str, Definition], dict[str, Document]]:
    """All definitions of ``documents`` and the document of each, both by key.

    Args:
        documents: Objects with ``kind`` and the fields of that kind.
        stored: Definitions that are known to be good; a document that says one of them once more gives that very one.

    Raises:
        DefinitionError: some are wrong, or two of one kind have one name; all findings at once.
    """
    definitions: dict[str, Definition] = {}
    sources: dict[str, Document] = {}
    findings: list[Finding] = []
    for document in documents:
        try:
            definition = _said_before(document.data, stored or {}) or parse_definition(document)
        except DefinitionError as error:
            findings.extend(error.findings)
            continue
        if first := sources.get(definition.key):
            message = _said_twice(definition, first)
            findings.extend(_failed(document, _subject(definition.key), [(("name",), message)]).findings)
        definitions[definition.key] = definition
        sources[definition.key] = document
    if findings:
        raise DefinitionError(findings)
    return definitions, sources


def _said_twice(definition: Definition, first: Document) -> str:
    if not first.file:
        return f"{definition.kind_name} {definition.name!r} stands in this set twice"
    return f"there is already one of this kind and name at {first.file}:{first.line(('name',))}"


def _said_before(data: Any, stored: Definitions) -> Definition | None:
    """The one of ``stored`` that says what ``data`` says; ten thousand that have not changed are not checked again."""
    known = stored.get(f"{data.get('kind')}/{data.get('name')}") if isinstance(data, dict) else None
    if known is None:
        return None
    said = {"kind": known.kind_name, **known.as_stored()}
    # In JSON, unlike in Python, 1, 1.0 and true differ.
    is_same = msgspec.json.encode(said, order="deterministic") == msgspec.json.encode(data, order="deterministic")
    return known if is_same else None


def located(findings: Iterable[Finding], sources: Mapping[str, Document]) -> list[Finding]:
    """``findings`` with the file and line of the definitions they are about, in order of place."""
    placed = [_placed(finding, sources.get(finding.subject.replace(" ", "/", 1))) for finding in findings]
    return sorted(placed, key=lambda finding: (finding.file, finding.line, finding.message))


def _placed(finding: Finding, source: Document | None) -> Finding:
    if source is None:
        return finding
    path = tuple(int(part) if part.isdigit() else part for part in finding.path.split(".") if part)
    return replace(finding, file=source.file, line=source.line(path))


def _subject(key: str) -> str:
    return key.replace("/", " ", 1)


def _failed(document: Document, subject: str, problems: Iterable[tuple[PathKey, str]]) -> DefinitionError:
    return DefinitionError(
        [
            Finding(
                message=message,
                file=document.file,
                line=document.line(path),
                path=".".join(map(str, path)),
                subject=subject,
            )
            for path, message in problems
        ]
    )


def _readable(kind: str, errors: list[ErrorDetails]) -> Iterator[tuple[PathKey, str]]:
    paths = [_path(error["loc"]) for error in errors]
    messages: dict[PathKey, dict[str, None]] = {}
    for error, path in zip(errors, paths, strict=True):
        union_miss = error["type"] == "too_short" or any("[" in str(part) for part in error["loc"])
        if union_miss and any(other[: len(path)] == path and other != path for other in paths):
            continue
        messages.setdefault(path, {})[_message(kind, error)] = None
    # The branches of a union fail at one place, each with what it expects.
    yield from ((path, ", or ".join(several)) for path, several in messages.items())


def _message(kind: str, error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            word, known = str(error["loc"][-1]), _field_names(KINDS[kind])
            return f"{word!r} does not stand here" if word in known else f"unknown field {word!r}{nearest(word, known)}"
        case "missing":
            return f"the field {error['loc'][-1]!r} is missing"
        case "literal_error" | "enum":
            expected = str(error.get("ctx", {}).get("expected", ""))
            words = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
            return f"{error['input']!r} is not {_one_of(words)}{nearest(str(error['input']), words)}"
        case "union_tag_invalid":
            words = [word.strip(" '") for word in str(error.get("ctx", {}).get("expected_tags", "")).split(",")]
            written = str(error.get("ctx", {}).get("tag", ""))
            return f"{written!r} is not {_one_of(words)}{nearest(written, words)}"
        case "tuple_type":
            return "expected a list"
        case "too_short":
            least = error.get("ctx", {}).get("min_length", 1)
            return "an empty list is refused" if least == 1 else f"at least {least} are needed"
        case "string_type":
            return "expected a text"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "expected a mapping"
        case "string_pattern_mismatch" if error["loc"][-1] == "name":
            return f"{error['input']!r} is no name; write lower-case letters, digits, '-', '_' and '.'"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case _:
            return error["msg"][0].lower() + error["msg"][1:]


def _one_of(words: list[str]) -> str:
    return repr(words[0]) if len(words) == 1 else f"one of {', '.join(words)}"


def _path(loc: tuple[int | str, ...]) -> PathKey:
    """``loc`` without what pydantic adds to it for the branches of a union."""
    path: list[str | int] = []
    tag_follows = False
    for part in loc:
        if isinstance(part, str):
            is_tag = tag_follows and part in TRIGGER_TAGS
            is_auth = path == ["auth"] and part in AUTH_TYPES
            is_type = "[" in part or part.startswith("constrained-") or part in ("str", "int", "float", "bool")
            if is_tag or is_auth or is_type or part[:1].isupper():
                tag_follows = tag_follows and not is_tag
                continue
        path.append(part)
        tag_follows = part in ("trigger", "when", "not") or (
            isinstance(part, int) and len(path) > 1 and path[-2] in ("all", "any")
        )
    return tuple(path)


@lru_cache
def _field_names(model: type[BaseModel]) -> frozenset[str]:
    """The names, as written, of all fields of ``model`` and of the models inside it."""
    names: set[str] = set()
    waiting, seen = [model], set[type[BaseModel]]()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for name, info in current.model_fields.items():
            names.add(info.alias or name)
            waiting.extend(_models_in(info.annotation))
    return frozenset(names)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, dict) or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation):
            yield from _models_in(inner)
