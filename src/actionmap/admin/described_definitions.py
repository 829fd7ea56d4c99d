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
#: Where an integration sends secrets is for those who may publish, whatever its state.
_BOTH = "`edit` and `publish`"
#: Kind and verb → the right that it takes; of all others, `publish`.
_RIGHTS = {
    ("ActionMap", "deactivate"): "`edit`; of a map in an exclusive group, `publish`",
    ("Webhook", "archive"): "`edit`; of a published webhook, `publish`",
    ("Webhook", "discard"): "`edit`",
    ("DataAction", "discard"): "`edit`",
}
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
        is_integration = kind == "Integration"
        edit = _BOTH if is_integration else _EDIT
        self._kind, self._one = kind, one
        self.listed = operation("`read`", page_schema(kind), page, problems=(400, 422))
        self.created = operation(edit, **one, status=201, reads=body(named(kind), written), problems=(409, 422))
        self.got = operation("`read`", **one, problems=(404,))
        self.replaced = operation(edit, **changed, reads=body(named(f"{kind}Replacement"), written))
        self.patched = operation(edit, **changed, reads=body(named(f"{kind}Patch"), patch, *PATCH_TYPES))
        self.deleted = operation(edit, None, status=204, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 428))
        self.duplicated = operation(_BOTH if is_integration else "`edit`", **one, status=201, problems=(404, 409, 422),
                                    reads=body(refer(Duplicate), {"name": f"{written['name']}-2"}))  # fmt: skip
        self.versions = operation("`read`", versions_schema(kind), {"items": [version_example(kind)], "next": None},
                                  problems=(404, 422))  # fmt: skip
        self.version = operation("`read`", version_schema(kind), version_example(kind), problems=(404, 422))
        self.compared = operation("`read`", refer(Difference), problems=(404, 422), example={
            "from": 3, "to": 4, "diff": ["--- 3", "+++ 4", "-description: Old.", "+description: New."],
        })  # fmt: skip
        self.restored = operation(edit, **one, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 422))

    def stepped(self, verb: str) -> dict[str, Any]:
        """A verb of its life."""
        right = _RIGHTS.get((self._kind, verb), "`publish`")
        return operation(right, **self._one, parameters=(IF_MATCH,), problems=(*_OF_ONE_VERSION, 422))
