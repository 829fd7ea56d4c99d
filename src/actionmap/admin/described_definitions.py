"""What OpenAPI says of the routes of one kind of definition."""

from __future__ import annotations

from typing import Any

from actionmap.admin.describe import body, named, operation, refer
from actionmap.admin.schemas.definitions import (
    ETAG,
    EXAMPLES,
    IF_MATCH,
    Difference,
    Duplicate,
    held_example,
    page_schema,
    version_example,
    version_schema,
    versions_schema,
)

PATCH_TYPES = ("application/json", "application/merge-patch+json")
_EDIT = "`edit`, and `publish` besides where what is live changes"
#: How a change of one definition may be refused, which may name a version in If-Match, or what is none.
_OF_ONE_VERSION = (400, 404, 409, 412)


class Described:
    """The routes of one kind, each as `operation` describes it."""

    def __init__(self, kind: str) -> None:
        held, example, written = named(f"Held{kind}"), held_example(kind), EXAMPLES[kind]
        one: dict[str, Any] = {"answer": held, "example": example, "headers": ETAG}
        page = {"items": [example], "next": None, "total": 1}
        changed: dict[str, Any] = {**one, "parameters": (IF_MATCH,), "problems": (*_OF_ONE_VERSION, 422, 428)}
        patch = {"description": "As new.", "version": example["version"]}
        self._one = one
        self.listed = operation("`read`", page_schema(kind), page, problems=(400, 422))
        self.created = operation(_EDIT, **one, status=201, reads=body(named(kind), written), problems=(409, 422))
        self.got = operation("`read`", **one, problems=(404,))
        self.replaced = operation(_EDIT, **changed, reads=body(named(f"{kind}Replacement"), written))
        self.patched = operation(_EDIT, **changed, reads=body(named(f"{kind}Patch"), patch, *PATCH_TYPES))
        self.deleted = operation(_EDIT, None, status=204, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 428))
        self.duplicated = operation("`edit`", **one, status=201, problems=(404, 409, 422),
                                    reads=body(refer(Duplicate), {"name": f"{written['name']}-2"}))  # fmt: skip
        self.versions = operation("`read`", versions_schema(kind), {"items": [version_example(kind)], "next": None},
                                  problems=(404, 422))  # fmt: skip
        self.version = operation("`read`", version_schema(kind), version_example(kind), problems=(404, 422))
        self.compared = operation("`read`", refer(Difference), problems=(404, 422), example={
            "from": 3, "to": 4, "diff": ["--- 3", "+++ 4", "-description: Old.", "+description: New."],
        })  # fmt: skip
        self.restored = operation(_EDIT, **one, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 422))

    def stepped(self, right: str) -> dict[str, Any]:
        """A verb of its life that takes that right."""
        return operation(f"`{right}`", **self._one, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 422))
