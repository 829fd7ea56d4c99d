"""The lifecycle of definitions at random, by two servers on one store, against a model of what the words mean."""

import asyncio
import copy
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from actionmap.catalog import lifecycle
from actionmap.catalog.lifecycle import Entry, Step
from actionmap.catalog.plan import plan
from actionmap.catalog.versions import former_definition, stored_of
from actionmap.errors import ActionmapError, Conflict
from actionmap.registry import Edit, Registry
from actionmap.store.memory import MemoryStore
from support import definitions, rules

FIXED = rules()
WEBHOOKS = ["Webhook/tell-shop", "Webhook/w1", "Webhook/w2"]
MAPS = ["ActionMap/each-order", "ActionMap/m1"]
TEXTS = st.sampled_from(["", "a", "b"])
BOTH = st.sampled_from([0, 1])


@dataclass
class Known:
    """What the model knows of one definition: what is in force, the draft, and all that was ever written."""

    now: dict[str, Any]
    draft: dict[str, Any] | None = None
    versions: list[dict[str, Any]] = field(default_factory=list)


def written(kind: str, name: str, text: str, **more: Any) -> dict[str, Any]:
    template = next(one for one in FIXED if one["kind"] == kind and (kind == "Webhook" or one["name"] == "each-order"))
    return {**template, "name": name, "description": text, **more}


class Lifecycle(RuleBasedStateMachine):
    """Each rule does the same to a server, chosen at random, and to the model."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = MemoryStore()
        self.servers = [Registry(self.store), Registry(self.store)]
        self.wait(self.servers[0].change(definitions(FIXED)))
        self.known = {
            "Webhook/tell-shop": Known(self.full("Webhook/tell-shop")),
            "ActionMap/each-order": Known(self.full("ActionMap/each-order")),
        }
        for one in self.known.values():
            one.versions.append(copy.deepcopy(one.now))
        self.gone: dict[str, list[dict[str, Any]]] = {}

    def wait(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def full(self, key: str) -> dict[str, Any]:
        return self.servers[0].entries[key].definition.model_dump(mode="json", by_alias=True)

    def update(self, server: int, make: Any) -> str:
        """ "" when it was done, else what kind of refusal came back."""
        try:
            self.wait(self.servers[server].update(make, "tester"))
        except ActionmapError as error:
            return type(error).__name__
        return ""

    def put(self, key: str, after: dict[str, Any], draft: dict[str, Any] | None, written_: dict[str, Any]) -> None:
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = Known(after, versions=self.gone.pop(key, []))
        known.now, known.draft = after, draft
        known.versions.append(copy.deepcopy(written_))

    @rule(server=BOTH, key=st.sampled_from(WEBHOOKS + MAPS), text=TEXTS, published=st.booleans(), as_code=st.booleans())
    def save(self, server: int, key: str, text: str, published: bool, as_code: bool) -> None:
        kind, name = key.split("/")
        state = {"state": "published" if published else "draft"} if kind == "Webhook" else {"active": published}
        wanted = definitions([written(kind, name, text, **state)])[key]
        says = wanted.model_dump(mode="json", by_alias=True)
        known = self.known.get(key)

        def make() -> Edit:
            entries = self.servers[server].entries
            if as_code:
                changes = plan(entries, {key: wanted}, prune=False)
                return Edit({change.key: change.step for change in changes if change.step is not None})
            step = lifecycle.saved(entries.get(key), wanted, takes_over=False)
            return Edit({key: step} if step is not None else {})

        refused = self.update(server, make)
        if known is not None and known.now.get("state") == "archived":
            assert refused == ("LifecycleError" if known.now != says else "")
            return
        assert refused == ""
        if known is None or known.now.get("state", "draft") == "draft":
            if known is None or known.now != says:
                self.put(key, says, None, says)
        elif published and (as_code or known.now == says):
            if known.now != says:
                is_that = known.draft == {**says, "state": "draft"}
                self.put(key, says, None if is_that else known.draft, says)
        else:
            draft = {**says, "state": "draft"}
            if known.draft != draft:
                self.put(key, known.now, draft, draft)

    @rule(server=BOTH, key=st.sampled_from(WEBHOOKS), text=TEXTS)
    def publish_as(self, server: int, key: str, text: str) -> None:
        """What is sent to be published at once leaves no draft, whatever was beside it."""
        known = self.known.get(key)
        if known is None:
            return
        wanted = definitions([written("Webhook", key.split("/")[1], text, state="published")])[key]
        says = wanted.model_dump(mode="json", by_alias=True)
        refused = self.update(server, self.step(server, key, lambda entry: lifecycle.published_as(entry, wanted)))
        if known.now["state"] == "archived":
            assert refused == "LifecycleError"
            return
        assert refused == ""
        if known.now != says or known.draft is not None:
            self.put(key, says, None, says)

    @rule(server=BOTH, key=st.sampled_from(WEBHOOKS), verb=st.sampled_from(["publish", "archive", "discard"]))
    def verb(self, server: int, key: str, verb: str) -> None:
        known = self.known.get(key)
        if known is None:
            return
        transition = {"publish": lifecycle.published, "archive": lifecycle.archived, "discard": lifecycle.discarded}[
            verb
        ]
        refused = self.update(server, self.step(server, key, transition))
        state = known.now["state"]
        if (verb == "publish" and state == "archived") or (verb == "discard" and known.draft is None):
            assert refused == "LifecycleError"
            return
        assert refused == ""
        newest = known.draft or known.now
        if verb == "discard":
            self.put(key, known.now, None, known.now)
        elif verb == "publish" and not (state == "published" and known.draft is None):
            after = {**newest, "state": "published"}
            self.put(key, after, None, after)
        elif verb == "archive" and state != "archived":
            after = {**known.now, "state": "archived"}
            self.put(key, after, None, after)

    @rule(server=BOTH, key=st.sampled_from(MAPS), active=st.booleans())
    def switch(self, server: int, key: str, active: bool) -> None:
        known = self.known.get(key)
        if known is None:
            return
        assert self.update(server, self.step(server, key, lambda entry: lifecycle.switched(entry, active=active))) == ""
        if known.now["active"] != active:
            after = {**known.now, "active": active}
            self.put(key, after, None, after)

    def step(self, server: int, key: str, transition: Any) -> Any:
        def make() -> Edit:
            step: Step | None = transition(self.servers[server].entries[key])
            return Edit({key: step} if step is not None else {})

        return make

    @rule(server=BOTH, key=st.sampled_from(WEBHOOKS + MAPS))
    def delete(self, server: int, key: str) -> None:
        known = self.known.get(key)
        if known is None:
            return
        refused = self.update(server, lambda: Edit(deleted=frozenset((key,))))
        is_used = key == "Webhook/tell-shop"  # by the map first-visit, which stays
        assert refused == ("DefinitionError" if is_used else "")
        if not is_used:
            self.gone[key] = self.known.pop(key).versions

    @rule(server=BOTH, key=st.sampled_from(WEBHOOKS + MAPS), at=st.integers(1, 30))
    def restore(self, server: int, key: str, at: int) -> None:
        known = self.known.get(key)
        versions = known.versions if known is not None else self.gone.get(key, [])
        if not versions:
            return
        number = (at - 1) % len(versions) + 1
        former = self.version(server, key, number)

        def make() -> Edit:
            return Edit({key: lifecycle.restored(self.servers[server].entries.get(key), former)})

        assert self.update(server, make) == ""
        says = versions[number - 1]
        if "state" not in says:
            self.put(key, says, None, says)
            return
        draft = {**says, "state": "draft"}
        if known is not None and known.now["state"] == "published":
            self.put(key, known.now, draft, draft)
        else:
            self.put(key, draft, None, draft)

    def version(self, server: int, key: str, number: int) -> Any:
        registry = self.servers[server]
        self.wait(registry.refresh())
        entry = registry.entries.get(key)
        if entry is not None and entry.version == number:
            return former_definition(stored_of(entry))
        return former_definition(self.wait(registry.former(key, [number]))[number])

    @rule(key=st.sampled_from(WEBHOOKS + MAPS), texts=st.tuples(TEXTS, TEXTS))
    def two_editors_at_once(self, key: str, texts: tuple[str, str]) -> None:
        """Both have read the same version: of two that change it from there, the second is refused."""
        known = self.known.get(key)
        if known is None or known.now.get("state", "draft") != "draft":
            return
        kind, name = key.split("/")
        for server in self.servers:
            self.wait(server.refresh())
        read = [server.entries[key].version for server in self.servers]
        assert read[0] == read[1]
        outcomes = []
        for server, text in zip((0, 1), texts, strict=True):
            own = {"state": "draft"} if kind == "Webhook" else {"active": known.now["active"]}
            wanted = definitions([written(kind, name, text, **own)])[key]

            def make(server: int = server, wanted: Any = wanted) -> Edit:
                entry = self.servers[server].entries[key]
                if entry.version != read[server]:
                    raise Conflict("412")
                step = lifecycle.saved(entry, wanted, takes_over=False)
                return Edit({key: step} if step is not None else {})

            changes = wanted.model_dump(mode="json", by_alias=True) != known.now
            outcomes.append((changes, self.update(server, make)))
            if changes and not outcomes[-1][1]:
                says = wanted.model_dump(mode="json", by_alias=True)
                self.put(key, says, None, says)
        first, second = outcomes
        assert first[1] == ""
        assert second[1] == ("Conflict" if first[0] else "")

    @invariant()
    def everybody_reads_what_the_model_knows(self) -> None:
        if not hasattr(self, "known"):
            return
        for server in self.servers:
            self.wait(server.refresh())
            self.reads_what_the_model_knows(server)

    def reads_what_the_model_knows(self, server: Registry) -> None:
        held = {key: entry for key, entry in server.entries.items() if key in WEBHOOKS + MAPS}
        assert held.keys() == self.known.keys()
        for key, entry in held.items():
            self.check(entry, self.known[key])
        live = {name for name, one in server.rulebook.by_name.items() if not one.not_live}
        assert live == self.expected_live()

    def check(self, entry: Entry, known: Known) -> None:
        draft = None if entry.draft is None else entry.draft.model_dump(mode="json", by_alias=True)
        assert entry.definition.model_dump(mode="json", by_alias=True) == known.now
        assert draft == known.draft
        assert entry.version == len(known.versions)

    def expected_live(self) -> set[str]:
        if self.known["Webhook/tell-shop"].now["state"] != "published":
            return set()
        maps = (one.now for key, one in self.known.items() if key in MAPS)
        return {one["name"] for one in maps if one["active"]} | {"first-visit"}

    def teardown(self) -> None:
        if not hasattr(self, "known"):
            return
        for key, versions in [(key, one.versions) for key, one in self.known.items()] + list(self.gone.items()):
            for number, says in enumerate(versions, 1):
                found = self.version(0, key, number).model_dump(mode="json", by_alias=True)
                assert found == says, f"{key}: version {number} is kept as it was written"
        late = Registry(self.store)
        self.wait(late.refresh())
        self.reads_what_the_model_knows(late)
        audit = self.wait(self.servers[0].audit(limit=1000))
        assert len(audit) >= sum(len(one.versions) for one in self.known.values())
        self.loop.close()


@pytest.mark.usefixtures("quiet")
def test_whatever_two_editors_do_every_version_is_kept_and_both_read_what_the_lifecycle_says() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Lifecycle,
        settings=settings(
            max_examples=int(os.environ.get("LIFECYCLES", "30")), stateful_step_count=25, deadline=None,
            derandomize=True, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
