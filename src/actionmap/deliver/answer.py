"""A receiver's answer → the variables and traits that the data action takes out of it. Everything here distrusts it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from actionmap.catalog.answer_paths import compile_answer_path
from actionmap.delivery import Capture
from actionmap.event import MAX_EVENT_DEPTH

#: What a value taken out of an answer may have, as JSON: it is kept with the visitor.
MAX_VALUE_BYTES = 4096
#: The parser reads these itself. What it does not know it looks for among Python's, which never forgets a name it was
#: asked for: a stranger could fill the memory with them.
_ENCODINGS = frozenset({b"UTF-8", b"ISO-8859-1", b"US-ASCII"})
_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""", re.ASCII)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Taken(NamedTuple):
    """What was taken out of one answer."""

    variables: dict[str, Any]
    traits: dict[str, Any]
    #: What could not be, in words for people; None when all is well.
    note: str | None


def take(capture: Capture, body: bytes, content_type: str, *, is_whole: bool) -> Taken:
    """What ``capture`` names of the answer ``body``.

    A variable whose path leads to nothing is None, since the answer says that there is none; such a trait is left as
    it is. JSON is read, or XML where the content type says so: an element is an object of its children (a list where a
    name comes more than once), its attributes with ``@`` before them, its text as ``#text``; one that has only text is
    that text; namespaces are left out.

    Args:
        capture: What to take.
        body: As received, not decompressed.
        content_type: The answer's.
        is_whole: False when the body was cut off; then nothing is read.
    """
    answer: Any = None
    note = None if is_whole else "the answer is too large, so nothing was taken out of it"
    if is_whole:
        try:
            answer = _of_xml(body) if "xml" in content_type.lower() else msgspec.json.decode(body)
        except (ValueError, ParseError, DefusedXmlException, RecursionError):
            kind = "XML" if "xml" in content_type.lower() else "JSON"
            note = f"the answer is no {kind} that can be read, so nothing was taken out of it"
    variables = {name: _value(answer, path) for name, path in capture.variables.items()}
    traits = {name: value for name, path in capture.traits.items() if (value := _value(answer, path)) is not None}
    return Taken(variables, traits, note)


def _value(answer: Any, path: str) -> Any:
    """The value at ``path``; None where there is none, or one that is too large or too deep to be kept."""
    if answer is None:
        return None
    try:
        value = compile_answer_path(path)(answer)
        fits = _is_flat(value) and len(msgspec.json.encode(value)) <= MAX_VALUE_BYTES
    except Exception:
        # A library follows an author's path through a stranger's data: however it fails, the receiver has accepted.
        return None
    return value if fits else None


def _is_flat(value: Any, levels: int = MAX_EVENT_DEPTH) -> bool:
    """Whether ``value`` is no deeper than an event: whoever reads it later may come to the end of the stack sooner."""
    if not isinstance(value, (dict, list)):
        return True
    within = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_flat(one, levels - 1) for one in within)


def _of_xml(body: bytes) -> Any:
    parser = DefusedXMLParser(encoding=_encoding(body), forbid_dtd=True)  # type: ignore[no-untyped-call]
    parser.feed(body)
    root = parser.close()
    return {_name(root.tag): _of_element(root)}


def _encoding(body: bytes) -> str:
    if body.startswith(_UTF16):
        return "UTF-16"
    declared = _DECLARED.match(body)
    name = declared[1].upper() if declared else b"UTF-8"
    if name not in _ENCODINGS:
        raise ValueError("an encoding that is not read")
    return name.decode()


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _of_element(element: Element) -> Any:
    text = (element.text or "").strip()
    found: dict[str, Any] = {f"@{_name(name)}": value for name, value in element.attrib.items()}
    for child in element:
        name, value = _name(child.tag), _of_element(child)
        known = found.get(name)
        if known is None:
            found[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            found[name] = [known, value]
    if not found:
        return text
    return found | {"#text": text} if text else found
