"""What all definitions share: strict fields, camelCase outside, a name that is unique per kind."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from actionmap.catalog.secrets import PLAIN

_DURATION = re.compile(r"^(\d{1,9})([smhd])\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

#: How a definition is called: a slug.
Name = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", examples=["pricing-hot-lead"]),
]


#: Whose a definition is that names no company.
DEFAULT_COMPANY = "default"


#: How a company is called: words of lower-case letters and digits, with a hyphen between two.
Company = Annotated[str, Field(max_length=60, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", examples=["acme"])]


def _check_duration(text: str) -> str:
    if not _DURATION.match(text):
        raise ValueError(f"{text!r} is no duration; write a whole number and s, m, h or d, such as 10m")
    return text


#: ``<integer><s|m|h|d>``, kept as written.
Duration = Annotated[
    str, AfterValidator(_check_duration), Field(examples=["10m"], json_schema_extra={"pattern": "^[0-9]{1,9}[smhd]$"})
]


def seconds(duration: str) -> int:
    """Seconds of a ``Duration``."""
    match = _DURATION.match(duration)
    assert match is not None, duration
    return int(match[1]) * _SECONDS[match[2]]


#: The longest wait (a delay, an absence); visitors are remembered for longer, and so is what they wait for.
LONGEST_WAIT = "30d"
#: The longest window that events are counted in, or a cap looks back.
LONGEST_WINDOW = "365d"


def check_window(window: str) -> str:
    """``window`` when it is one.

    Raises:
        ValueError: it is neither session, lifetime nor a duration that one may last.
    """
    if window in ("session", "lifetime"):
        return window
    if not _DURATION.match(window):
        raise ValueError(f"{window!r} is no window; write session, lifetime or a duration such as 10m")
    if not 0 < seconds(window) <= seconds(LONGEST_WINDOW):
        raise ValueError(f"{window} is no window; one lasts from 1s to {LONGEST_WINDOW}")
    return window


#: What ends at the current event: the session, all that is remembered of the visitor, or a duration.
Window = Annotated[
    str,
    AfterValidator(check_window),
    Field(
        examples=["10m", "session", "lifetime"],
        json_schema_extra={"pattern": "^(session|lifetime|[0-9]{1,9}[smhd])$"},
    ),
]


def as_object_of(key: str, written: Any) -> BeforeValidator:
    """Let ``key``'s value stand for the object: ``activation: immediate`` is ``activation: {type: immediate}``.

    ``written``: the type of both, for its schema.
    """
    return BeforeValidator(
        lambda value: {key: value} if isinstance(value, str) else value, json_schema_input_type=written
    )


class Model(BaseModel):
    """A part of a definition: frozen, strict about types, and no field that it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_default=False,
        use_attribute_docstrings=True,
    )

    def as_written(self) -> dict[str, Any]:
        """The JSON form, without the fields that were not given; secrets are masked."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def as_stored(self) -> dict[str, Any]:
        """The JSON form with secrets: for the store, and on the way to it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, context=PLAIN)


class Definition(Model):
    """One definition of one kind."""

    #: The word in ``kind:``.
    kind_name: ClassVar[str]

    name: Name
    """What it is called: unique among those of its kind, and never changed."""
    company: Company = DEFAULT_COMPANY
    """Whose it is: API keys of a company see and change its own alone."""
    description: str = Field(default="", max_length=2000)
    """In words for people."""

    @property
    def key(self) -> str:
        """Kind and name: unique in a set of definitions."""
        return f"{self.kind_name}/{self.name}"
