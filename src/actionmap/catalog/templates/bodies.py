"""Bodies: a template of each content type as a function from values to bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

import msgspec

from actionmap.catalog.places import BadTemplate
from actionmap.catalog.templates.forms import Pairs, check_part_names, compile_pairs, multipart, refuse_places_in_keys
from actionmap.catalog.templates.text import compile_text
from actionmap.catalog.templates.values import ABSENT, Values, to_text
from actionmap.catalog.templates.xml import compile_xml

ContentType = Literal["json", "xml", "formEncoded", "formData"]


class Body(NamedTuple):
    """What is sent, in UTF-8, and the Content-Type that goes with it; None where the author gave one."""

    data: bytes
    content_type: str | None


#: From the values and the delivery's id to the body. Raises Unrenderable, or UnicodeEncodeError for what is no UTF-8.
MakeBody = Callable[[Values, str], Body]


def compile_body(kind: ContentType, template: Any, fields: Collection[str], *, own_type: bool = False) -> MakeBody:
    """A body ``template`` as a function of values and the delivery's id.

    Args:
        kind: The content type.
        template: None for the input object as it is.
        fields: The fields of the contract.
        own_type: Whether the author gave the header Content-Type.

    Raises:
        BadTemplate: it cannot be read, or is not what the content type holds.
    """
    match kind:
        case "json":
            return _json(template, fields, None if own_type else "application/json")
        case "xml":
            return _xml(template, fields, own_type)
        case "formEncoded":
            return _form_encoded(template, fields, None if own_type else "application/x-www-form-urlencoded")
        case "formData":
            if own_type:
                raise BadTemplate(
                    "contentType: formData sets the header Content-Type, with its boundary; take yours out"
                )
            return _form_data(template, fields)


def compile_structure(template: Any, fields: Collection[str]) -> Callable[[Values], Any]:
    """A JSON ``template`` as a function of values; a field left out takes its key, or its place in a list, along.

    Raises:
        BadTemplate: it cannot be read.
    """
    if isinstance(template, str):
        return compile_text(template, fields)
    if isinstance(template, list):
        items = [compile_structure(item, fields) for item in template]
        return lambda values: [made for item in items if (made := item(values)) is not ABSENT]
    if isinstance(template, dict):
        refuse_places_in_keys(template)
        entries = [(key, compile_structure(value, fields)) for key, value in template.items()]
        return lambda values: {key: made for key, value in entries if (made := value(values)) is not ABSENT}
    return lambda _: template


def _json(template: Any, fields: Collection[str], content_type: str | None) -> MakeBody:
    encode = msgspec.json.encode
    if template is None:
        return lambda values, _: Body(encode(values), content_type)
    structure = compile_structure(template, fields)

    def make(values: Values, _: str) -> Body:
        made = structure(values)
        return Body(encode(None if made is ABSENT else made), content_type)

    return make


def _xml(template: Any, fields: Collection[str], own_type: bool) -> MakeBody:
    if not isinstance(template, str):
        raise BadTemplate(
            "contentType: xml takes a body that is a text: the document, with {{ field }} where values stand"
        )
    document = compile_xml(template, fields)
    content_type = None if own_type else document.content_type
    return lambda values, _: Body(document.fill(values).encode(), content_type)


def _form_encoded(template: Any, fields: Collection[str], content_type: str | None) -> MakeBody:
    pairs = _compile_form(template, fields)
    return lambda values, _: Body(urlencode(pairs(values)).encode(), content_type)


def _form_data(template: Any, fields: Collection[str]) -> MakeBody:
    pairs = _compile_form(template, fields)
    check_part_names(fields if template is None else template)

    def make(values: Values, delivery_id: str) -> Body:
        data, boundary = multipart(pairs(values), delivery_id)
        return Body(data, f"multipart/form-data; boundary={boundary}")

    return make


def _compile_form(template: Any, fields: Collection[str]) -> Callable[[Values], Pairs]:
    if template is None:
        return lambda values: [(name, to_text(value)) for name, value in values.items() if value is not None]
    if not isinstance(template, dict):
        raise BadTemplate("a form's body is a mapping of names to values")
    return compile_pairs(template, fields)
