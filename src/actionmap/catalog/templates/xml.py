"""XML: the author writes the document as a text; values stand in elements' texts and attributes' values alone.

Where a place stands is asked of a parser, which reads the document with a marker in each place when it is saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from xml.parsers import expat

from actionmap.catalog.places import BadTemplate
from actionmap.catalog.templates.text import Parts, Place, compile_joined, read_template
from actionmap.catalog.templates.values import Values, to_text
from actionmap.errors import Unrenderable

#: What XML 1.0 cannot hold, not even escaped.
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Escaped for element texts and for attribute values alike; line ends and tabs too, which parsers would change.
_ESCAPED = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
#: Namespace of the outermost element → the type its receivers expect: SOAP 1.1 and 1.2.
_SOAP = {
    "http://schemas.xmlsoap.org/soap/envelope/": "text/xml; charset=utf-8",
    "http://www.w3.org/2003/05/soap-envelope": "application/soap+xml; charset=utf-8",
}
_ALLOWED = "only between an element's tags and in an attribute's quotes"


class Document(NamedTuple):
    """An XML template, read."""

    content_type: str
    #: Raises Unrenderable where a value holds a character that XML cannot.
    fill: Callable[[Values], str]


def compile_xml(template: str, fields: Collection[str]) -> Document:
    """The XML document ``template`` as a function of values.

    Raises:
        BadTemplate: it cannot be read, is not well-formed, has a DOCTYPE, or a place where no value may stand.
    """
    parts = read_template(template, fields)
    reader = _Reader()
    reader.read(_marked(parts, reader.marker_in(template)))
    expected = sum(isinstance(part, Place) for part in parts)
    if reader.found != expected:
        raise BadTemplate(f"a {{{{ }}}} stands where XML takes no value; it may stand {_ALLOWED}")
    return Document(_SOAP.get(reader.namespace, "application/xml; charset=utf-8"), compile_joined(parts, _escaped))


def _marked(parts: Parts, marker: str) -> str:
    return "".join(part if isinstance(part, str) else marker for part in parts)


def _escaped(name: str, value: Any) -> str:
    text = to_text(value)
    if _NO_CHARACTER.search(text):
        raise Unrenderable(f"{name!r} holds a character that XML cannot")
    return text.translate(_ESCAPED)


class _Reader:
    """Reads a document and counts the markers that stand where a value may."""

    def __init__(self) -> None:
        self.found = 0
        #: Of the outermost element; "" without one.
        self.namespace = ""
        self._depth = 0
        self._in_cdata = False
        self._marker = ""

    def marker_in(self, template: str) -> str:
        """A word that does not occur in ``template``; it could be a name, so that it is found wherever it stands."""
        number = 0
        while f"place{number}x" in template:
            number += 1
        self._marker = f"place{number}x"
        return self._marker

    def read(self, text: str) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartCdataSectionHandler = lambda: self._cdata(True)
        parser.EndCdataSectionHandler = lambda: self._cdata(False)
        try:
            parser.Parse(text.encode(), True)
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            raise BadTemplate(f"the body is no well-formed XML: {what}, in its line {error.lineno}") from None
        except UnicodeEncodeError:
            raise BadTemplate("the body holds half a surrogate pair, which is no UTF-8") from None

    def _declaration(self, version: str, encoding: str | None, _: int) -> None:
        if version != "1.0" or (encoding or "utf-8").lower() != "utf-8":
            raise BadTemplate("the body is sent as XML 1.0 in UTF-8; declare nothing else")

    def _doctype(self, *_: Any) -> None:
        raise BadTemplate("a DOCTYPE is refused in the body; take it out")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._depth:
            self.namespace = name.rpartition(" ")[0]
        self._depth += 1
        self.found += sum(value.count(self._marker) for value in attributes.values())

    def _end(self, _: str) -> None:
        self._depth -= 1

    def _text(self, text: str) -> None:
        self.found += 0 if self._in_cdata else text.count(self._marker)

    def _cdata(self, inside: bool) -> None:
        self._in_cdata = inside
