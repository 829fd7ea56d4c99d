"""All resources of a tenant → definitions that load together, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from actionmap.catalog.addresses import Network
from actionmap.catalog.documents import Document
from actionmap.catalog.lint import lint
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import parse_definition
from actionmap.errors import DefinitionError, Finding
from actionmap.genesys import terms
from actionmap.genesys.action_maps import import_action_map
from actionmap.genesys.data_actions import import_data_action
from actionmap.genesys.integrations import Integrations
from actionmap.genesys.reading import ACTION_MAP, DATA_ACTION, SEGMENT, Resource
from actionmap.genesys.report import Decision, Draft, NotImported, Outcome, Report
from actionmap.genesys.segments import import_segment
from actionmap.genesys.webhooks import import_webhook

#: Kinds that definitions were built of at Genesys, and that there are none of here.
_WITHOUT_PLACE = {
    "genesyscloud_journey_outcome": "outcomes are being removed by Genesys, and nothing here predicts any",
    "genesyscloud_journey_action_template": "it is shown on a page; here a map fires a webhook and nothing else",
    "genesyscloud_journey_outcome_predictor": "outcomes are being removed by Genesys, and nothing here predicts any",
    "": "it is no Terraform and no export of a data action",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """The definitions that could be made, each with what is open about it, and the report."""

    definitions: tuple[tuple[Definition, tuple[Decision, ...]], ...]
    report: Report


def import_tenant(
    resources: Iterable[Resource],
    *,
    now: int,
    allow_hosts: Collection[str] = (),
    allow_networks: tuple[Network, ...] = (),
) -> Imported:
    """The definitions that ``resources`` describe.

    Args:
        resources: What was read of a tenant.
        now: Milliseconds since 1970, for what lint says of dates.
        allow_hosts: Hosts that may be sent to although they are inward.
        allow_networks: Networks likewise.
    """
    making = _Making(list(resources))
    check = partial(lint, now=now, allow_hosts=allow_hosts, allow_networks=allow_networks)
    making.make()
    definitions = making.loading(check)
    report = Report(making.outcomes(), making.others, check(definitions) if definitions else [])
    open_ones = {draft.key: tuple(draft.decisions) for draft in making.drafts}
    return Imported(tuple((one, open_ones[key]) for key, one in definitions.items()), report)


class _Making:
    def __init__(self, resources: Sequence[Resource]) -> None:
        ours = {ACTION_MAP, DATA_ACTION, SEGMENT, *_WITHOUT_PLACE}
        self.others = dict(Counter(one.type for one in resources if one.type not in ours))
        self.drafts: list[Draft] = []
        self._outcomes = {id(one): Outcome(one) for one in resources if one.type in ours}
        self._names = terms.Names()

    def make(self) -> None:
        """Make drafts of all resources, those that others refer to first."""
        integrations = Integrations(self._names)
        data_actions = self._each(
            DATA_ACTION, "DataAction", lambda one, name: [import_data_action(one, name, integrations)]
        )
        segments = self._each(SEGMENT, "Segment", lambda one, name: [import_segment(one, name)])

        def action_map(one: Resource, name: str) -> list[Draft]:
            return [*import_webhook(one, name, data_actions, self._names), import_action_map(one, name, segments)]

        self._each(ACTION_MAP, "ActionMap", action_map)
        self.drafts += integrations.drafts
        for outcome in self._outcomes.values():
            outcome.reason = outcome.reason or _WITHOUT_PLACE.get(outcome.resource.type, "")

    def _each(self, type_: str, kind: str, make: Callable[[Resource, str], list[Draft]]) -> dict[str, Draft]:
        made = {}
        for outcome in (one for one in self._outcomes.values() if one.resource.type == type_):
            resource = outcome.resource
            said = resource.body.get("display_name") or resource.body.get("name")
            name, note = self._names.take(kind, said if isinstance(said, str) else resource.label)
            try:
                drafts = make(resource, name)
            except NotImported as why:
                outcome.reason = str(why)
                continue
            drafts[-1].notes += [note] if note else []
            self.drafts += drafts
            made[resource.address] = drafts[-1]
        return made

    def loading(self, check: Callable[[dict[str, Definition]], list[Finding]]) -> dict[str, Definition]:
        """The definitions that load together; what does not is taken out, with what refers to it, and said."""
        while True:
            definitions, wrong = self._parsed()
            for found in check(definitions) if definitions and not wrong else ():
                if found.severity == "error":
                    wrong.setdefault(found.subject.replace(" ", "/", 1), []).append(f"{found.path}: {found.message}")
            if not self._take_out(wrong):
                return definitions

    def _parsed(self) -> tuple[dict[str, Definition], dict[str, list[str]]]:
        definitions: dict[str, Definition] = {}
        wrong: dict[str, list[str]] = {}
        for draft in self.drafts:
            try:
                definitions[draft.key] = parse_definition(Document(data={"kind": draft.kind, **draft.fields}))
            except DefinitionError as error:
                wrong[draft.key] = [f"{found.path}: {found.message}" for found in error.findings]
        return definitions, wrong

    def _take_out(self, wrong: dict[str, list[str]]) -> bool:
        """Take out what is ``wrong`` with all that was made for the same resource; whether something was."""
        out: set[int] = set()
        for draft in (draft for draft in self.drafts if draft.key in wrong):
            outcome = self._outcomes[id(draft.source)]
            said = f"{draft.kind} {draft.fields['name']}: {'; '.join(wrong[draft.key])}"
            outcome.reason = f"{outcome.reason}; {said}" if outcome.reason else said
            out.add(id(draft.source))
        left = [one for one in self.drafts if one.key not in wrong]
        left = [one for one in left if one.kind == "Integration" or id(one.source) not in out]
        used = {one.fields["integration"] for one in left if one.kind == "DataAction"}
        left = [one for one in left if one.kind != "Integration" or one.fields["name"] in used]
        has_changed = len(left) < len(self.drafts)
        self.drafts = left
        return has_changed

    def outcomes(self) -> list[Outcome]:
        """What became of each resource, in the order in which they were read."""
        owners = {one.fields["integration"]: one for one in reversed(self.drafts) if one.kind == "DataAction"}
        for draft in self.drafts:
            owner = owners[draft.fields["name"]] if draft.kind == "Integration" else draft
            outcome = self._outcomes[id(owner.source)]
            outcome.definitions.append(draft.key)
            outcome.decisions += draft.decisions
            outcome.notes += draft.notes
        return list(self._outcomes.values())
