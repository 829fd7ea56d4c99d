"""The five kinds of definition, as written in YAML and sent over REST."""

from actionmap.catalog.models.action_map import ActionMap, Frequency, PageUrlCondition, PageUrls
from actionmap.catalog.models.auth import Auth, Signing
from actionmap.catalog.models.base import Company, Definition, Duration, Name
from actionmap.catalog.models.data_action import Contract, DataAction, Request, Response
from actionmap.catalog.models.integration import Integration
from actionmap.catalog.models.segment import Segment
from actionmap.catalog.models.trigger import All, Any_, Condition, Count, EventLeaf, Not, SegmentLeaf, Trigger
from actionmap.catalog.models.webhook import Mapping, Retry, Webhook, WebhookDelivery

#: Kind as written → model, in the order in which definitions depend on each other.
KINDS: dict[str, type[Definition]] = {
    "Integration": Integration,
    "DataAction": DataAction,
    "Webhook": Webhook,
    "Segment": Segment,
    "ActionMap": ActionMap,
}
#: Kind → its name in URLs, and of the files that hold all of them.
PLURALS = {
    "Integration": "integrations",
    "DataAction": "data-actions",
    "Webhook": "webhooks",
    "Segment": "segments",
    "ActionMap": "action-maps",
}

__all__ = [
    "KINDS",
    "PLURALS",
    "ActionMap",
    "All",
    "Any_",
    "Auth",
    "Company",
    "Condition",
    "Contract",
    "Count",
    "DataAction",
    "Definition",
    "Duration",
    "EventLeaf",
    "Frequency",
    "Integration",
    "Mapping",
    "Name",
    "Not",
    "PageUrlCondition",
    "PageUrls",
    "Request",
    "Response",
    "Retry",
    "Segment",
    "SegmentLeaf",
    "Signing",
    "Trigger",
    "Webhook",
    "WebhookDelivery",
]
