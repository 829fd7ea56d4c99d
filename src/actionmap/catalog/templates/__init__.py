"""Request templates: ``{{ field }}`` over the fields of the input contract, with filters, and nothing else.

A visitor's text is only ever a value here: it is put into a finished structure and escaped for its place, so it can
add neither a field, nor a header, nor a parameter, nor a path segment.
"""

from actionmap.catalog.places import BadTemplate
from actionmap.catalog.templates.base_url import BaseUrl, compile_base_url, fill_base_url, shown_base_url
from actionmap.catalog.templates.bodies import Body, ContentType, MakeBody, compile_body
from actionmap.catalog.templates.headers import compile_headers
from actionmap.catalog.templates.text import compile_text, used_fields
from actionmap.catalog.templates.urls import compile_params, compile_path
from actionmap.catalog.templates.values import Values, to_text

__all__ = [
    "BadTemplate",
    "BaseUrl",
    "Body",
    "ContentType",
    "MakeBody",
    "Values",
    "compile_base_url",
    "compile_body",
    "compile_headers",
    "compile_params",
    "compile_path",
    "compile_text",
    "fill_base_url",
    "shown_base_url",
    "to_text",
    "used_fields",
]
