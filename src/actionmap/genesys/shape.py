"""The shape of resources: which fields are blocks, and which fields stand in them (of the provider's schemas)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actionmap.genesys.report import NotImported

#: Blocks, and maps of texts.
_BLOCKS = frozenset(
    [
        "context",
        "journey",
        "patterns",
        "criteria",
        "external_segment",
        "trigger_with_event_conditions",
        "page_url_conditions",
        "activation",
        "trigger_with_outcome_probability_conditions",
        "trigger_with_outcome_quantile_conditions",
        "action",
        "config_request",
        "trigger_with_outcome_percentile_conditions",
        "action_map_schedule_groups",
        "architect_flow_fields",
        "config_response",
        "flow_request_mappings",
        "integration_action_fields",
        "request_mappings",
        "function_config",
        "headers",
        "translation_map",
        "translation_map_defaults",
    ]
)
#: What they hold is named by people.
_MAPS = frozenset({"headers", "translation_map", "translation_map_defaults", "function_config"})
_IN_BLOCKS = _BLOCKS | frozenset(
    [
        "key",
        "values",
        "operator",
        "should_ignore_case",
        "entity_type",
        "count",
        "stream_type",
        "session_type",
        "event_name",
        "id",
        "name",
        "source",
        "type",
        "delay_in_seconds",
        "attribute_type",
        "mapping_type",
        "value",
        "request_url_template",
        "request_type",
        "request_template",
        "media_type",
        "architect_flow_id",
        "integration_action_id",
        "action_template_id",
        "is_pacing_enabled",
        "success_template",
        "action_map_schedule_group_id",
        "emergency_action_map_schedule_group_id",
    ]
)


def refuse_computed(body: dict[str, Any]) -> None:
    """Refuse a resource that stands for several, or whose blocks are made by Terraform: half of it would be lost.

    Raises:
        NotImported: it is so.
    """
    for name in ("count", "for_each"):
        if name in body:
            raise NotImported(f"{name} makes several of it, which only Terraform can compute; write them out")
    for name, value in _fields(body):
        if name == "dynamic":
            raise NotImported("a dynamic block is in it, which only Terraform can compute; write its blocks out")
        if name in _BLOCKS and not all(isinstance(one, dict) for one in _several(value)):
            raise NotImported(f"{name} is no block that is written out, and nothing is computed here")


def unknown_in_blocks(body: dict[str, Any]) -> list[str]:
    """Fields within the blocks of ``body`` that no schema has."""
    inside = (inner for name in _BLOCKS - _MAPS for one in _several(body.get(name)) for inner in _fields(one))
    return sorted({name for name, _ in inside} - _IN_BLOCKS)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _fields(body: Any) -> Iterator[tuple[str, Any]]:
    """All fields of ``body`` and of the blocks in it."""
    for name, value in body.items() if isinstance(body, dict) else ():
        yield name, value
        for one in _several(value) if name in _BLOCKS - _MAPS else ():
            yield from _fields(one)
