"""What may become of a definition: draft, published, archived, and the versions it leaves behind. Pure.

Genesys publishes a webhook for good: to change it, one duplicates it and points every map to the duplicate. Here an
edit of what is published is a draft beside it, which takes over once it is published itself; the maps stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeGuard

import msgspec

from actionmap.catalog.documents import Document
from actionmap.catalog.models import DataAction, Definition, Webhook
from actionmap.catalog.parse import parse_definition
from actionmap.errors import Finding, LifecycleError

#: What a write does to a definition, as plans, versions and the audit call it. ``version``: what is published takes
#: another content at once. ``draft``: the content is kept beside what is published.
Action = Literal[
    "create", "change", "draft", "version", "publish", "archive", "activate", "deactivate", "restore", "duplicate",
    "discard", "delete",
]  # fmt: skip
#: Of these, what is in force stays what it is.
ASIDE: tuple[Action, ...] = ("draft", "discard")

_FROZEN = (
    "the contract of a published data action is frozen, for webhooks are mapped to it; duplicate the data action, "
    "change the duplicate, and let a new version of the webhook use it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is held of one definition."""

    #: What is in force: the only one that is ever evaluated or sent.
    definition: Definition
    #: Counts the writes from 1; its ETag.
    version: int = 1
    #: The version that put ``definition`` in force.
    in_force: int = 1
    #: What takes over once it is published; only beside a published webhook or data action.
    draft: Definition | None = None
    #: When it was written last, in milliseconds since 1970, by which API key, and what that write did.
    at: int = 0
    by: str = ""
    action: str = "create"

    @property
    def newest(self) -> Definition:
        """The draft, or what is in force where there is none."""
        return self.draft or self.definition

    @property
    def has_newer_draft(self) -> bool:
        """Whether there is a draft that was written after what is in force; another set may have taken over since."""
        return self.draft is not None and self.in_force != self.version


Entries = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Step:
    """One write to one definition."""

    action: Action
    #: What is in force afterwards, and the draft beside it.
    definition: Definition
    draft: Definition | None = None

    @property
    def written(self) -> Definition:
        """What the write is about: the draft, or what is in force."""
        return self.draft if self.draft is not None and self.action in ("draft", "restore") else self.definition


def content_of(definition: Definition) -> bytes:
    """What ``definition`` says, defaults included, as bytes: in JSON, unlike in Python, 1, 1.0 and true differ."""
    return msgspec.json.encode(definition.model_dump(mode="json"), order="deterministic")


def same(one: Definition | None, other: Definition | None) -> bool:
    """Whether the two say the same."""
    if one is None or other is None:
        return one is other
    return one is other or content_of(one) == content_of(other)


def saved(before: Entry | None, wanted: Definition, *, takes_over: bool) -> Step | None:
    """What it takes for a definition to be ``wanted``; None when it is already.

    Args:
        before: What is held of it so far.
        wanted: What it shall be.
        takes_over: Whether a published one takes another content at once, as definitions as code ask for, which leave
            a draft that is another one; else the content becomes its draft.

    Raises:
        LifecycleError: it is archived, the contract of a published data action would change, or its company would.
        DefinitionError: its company may not have it.
    """
    if before is None:
        return Step("create", wanted)
    now = before.definition
    wanted = _of_its_company(now, wanted)
    if _has_state(now) and now.state != "draft":
        return _saved_beside(before, now, wanted, takes_over=takes_over)
    return None if same(now, wanted) else Step(_change(now, wanted), wanted)


def _saved_beside(before: Entry, now: Webhook | DataAction, wanted: Definition, *, takes_over: bool) -> Step | None:
    assert _has_state(wanted)
    _check_contract(now, wanted)
    if now.state in ("archived", wanted.state):
        if same(now, wanted):
            return None
        if now.state == "archived":
            raise _refused(
                now, "state", "it is archived, so it does not change; restore a version of it, or duplicate it"
            )
        if takes_over:
            draft = before.draft
            is_that = draft is not None and same(with_state(draft, "published"), wanted)
            return Step("version", wanted, None if is_that else draft)
    elif wanted.state == "archived":
        if not takes_over and same(before.draft, with_state(wanted, "draft")):
            return archived(before)
        if not takes_over and not same(with_state(wanted, "published"), now):
            raise _refused(now, "state", "what is archived does not change; archive it as it is")
        return Step("archive", wanted)
    beside = with_state(wanted, "draft")
    return None if same(before.draft, beside) else Step("draft", now, beside)


def published_as(before: Entry, wanted: Definition) -> Step | None:
    """What it takes to publish ``wanted``, which was made from the draft: no draft is left to take it back later.

    Args:
        before: What is held of it so far.
        wanted: What shall be published.

    Raises:
        LifecycleError, DefinitionError: as `saved`.
    """
    step = saved(before, wanted, takes_over=True)
    if step is not None:
        return replace(step, draft=None)
    return discarded(before) if before.draft is not None else None


def _of_its_company(now: Definition, wanted: Definition) -> Definition:
    """``wanted``, which stays its company's where it names none: its versions and deliveries are kept by name."""
    if wanted.company == now.company:
        return wanted
    if "company" in wanted.model_fields_set:
        raise _refused(now, "company", f"it is {now.company}'s, and stays so; duplicate it under another name")
    # Read anew: a company's definitions may hold less than those of none.
    return parse_definition(Document(data={**wanted.as_stored(), "company": now.company}), wanted.kind_name)


def _change(now: Definition, wanted: Definition) -> Action:
    """What to call the change of what is in force from ``now`` to ``wanted``."""
    if _has_state(now) and _has_state(wanted) and wanted.state != now.state:
        return "archive" if wanted.state == "archived" else "publish"
    was, is_ = getattr(now, "active", None), getattr(wanted, "active", None)
    if was != is_:
        return "activate" if is_ else "deactivate"
    return "change"


def published(entry: Entry) -> Step | None:
    """What it takes to publish the draft, or the first state, of a webhook or data action; None when it is published.

    Raises:
        LifecycleError: it is archived.
    """
    now = entry.definition
    assert _has_state(now)
    if now.state == "archived":
        raise _refused(now, "state", "it is archived; restore a version of it first, or duplicate it")
    if entry.draft is None and now.state == "published":
        return None
    return Step("publish", with_state(entry.newest, "published"))


def archived(entry: Entry) -> Step | None:
    """What it takes to archive a webhook; None when it is. A draft of it is kept as a version alone."""
    now = entry.definition
    assert _has_state(now)
    return None if now.state == "archived" else Step("archive", with_state(now, "archived"))


def switched(entry: Entry, *, active: bool) -> Step | None:
    """What it takes for an integration, a segment or an action map to be ``active`` or not; None when it is so."""
    if getattr(entry.definition, "active", None) == active:
        return None
    return Step("activate" if active else "deactivate", entry.definition.model_copy(update={"active": active}))


def discarded(entry: Entry) -> Step:
    """What it takes to have no draft beside what is published.

    Raises:
        LifecycleError: there is none.
    """
    if entry.draft is None:
        raise _refused(entry.definition, "", "it has no draft beside what is in force")
    return Step("discard", entry.definition)


def restored(entry: Entry | None, former: Definition) -> Step:
    """What it takes to bring a former version back: as draft of a webhook or data action, else at once.

    Args:
        entry: What is held of it; None when it is deleted.
        former: What the version said.

    Raises:
        LifecycleError: the contract of a published data action would change.
    """
    if not _has_state(former):
        return Step("restore", former)
    now, draft = entry.definition if entry is not None else None, with_state(former, "draft")
    if now is None or not _has_state(now) or now.state != "published":
        return Step("restore", draft)
    _check_contract(now, former)
    return Step("restore", now, draft)


def duplicate(definition: Definition, name: str) -> Definition:
    """A copy called ``name``: a draft, or inactive, so that nothing happens twice before somebody has looked at it."""
    own = {"state": "draft"} if _has_state(definition) else {"active": False}
    return definition.model_copy(update={"name": name, **own})


def with_state(definition: Definition, state: str) -> Definition:
    """``definition`` in that state."""
    return definition.model_copy(update={"state": state})


def _has_state(definition: Definition) -> TypeGuard[Webhook | DataAction]:
    return isinstance(definition, Webhook | DataAction)


def _check_contract(now: Definition, wanted: Definition) -> None:
    if not (isinstance(now, DataAction) and isinstance(wanted, DataAction) and now.state == "published"):
        return
    if content_of_contract(now) != content_of_contract(wanted):
        raise _refused(now, "contract", _FROZEN)


def content_of_contract(action: DataAction) -> bytes:
    """What the contract says, as bytes; see `content_of`."""
    return msgspec.json.encode(action.contract.model_dump(mode="json"), order="deterministic")


def _refused(definition: Definition, path: str, message: str) -> LifecycleError:
    subject = f"{definition.kind_name} {definition.name}"
    return LifecycleError([Finding(message=message, path=path, subject=subject)])
