"""Definitions, versions and audit entries as REST answers them."""

from __future__ import annotations

from typing import Any

from actionmap.catalog.lifecycle import Entry
from actionmap.catalog.models import Definition
from actionmap.event import to_rfc3339

Written = dict[str, Any]
#: What the server adds to a definition; a client that sends it back means no change by it.
READ_ONLY = ("inForceVersion", "draft", "updatedAt", "updatedBy")


def plain(definition: Definition) -> Written:
    """``definition`` as its author would write it, with its company; secrets are masked."""
    return {"kind": definition.kind_name, **definition.as_written(), "company": definition.company}


def written(entry: Entry) -> Written:
    """What is in force, the draft beside it, and who wrote it when."""
    return {
        **plain(entry.definition),
        "version": entry.version,
        "inForceVersion": entry.in_force,
        "draft": None if entry.draft is None else plain(entry.draft),
        "updatedAt": to_rfc3339(entry.at) if entry.at else None,
        "updatedBy": entry.by or None,
    }
