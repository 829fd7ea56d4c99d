"""What OpenAPI says of answers and bodies: models that are read for their schema, with an example of each."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

EXAMPLE_TIME = "2026-11-21T19:15:00.123Z"
#: A time, as all answers write it.
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=[EXAMPLE_TIME])]


class Shown(BaseModel):
    """Something that is answered: a field with a default may be left out, another never is, though it may be null."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        use_attribute_docstrings=True,
        defer_build=True,
    )


class Asked(BaseModel):
    """A body that is read: no field that it does not know, no text for a number."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
