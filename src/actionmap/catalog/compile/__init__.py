"""Definitions → Rulebook: compiling is validating, and all findings come at once."""

from actionmap.catalog.compile.rulebook import compile_rulebook, content_hash
from actionmap.catalog.compile.segments import asked_segments
from actionmap.catalog.compile.webhooks import fields_in_url, why_not_live, why_unpublished

__all__ = ["asked_segments", "compile_rulebook", "content_hash", "fields_in_url", "why_not_live", "why_unpublished"]
