"""All definitions and the Rulebook they compile to, as the store holds them: read by workers, changed by the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actionmap.catalog.documents import Document
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.rulebook import Rulebook, compile_rulebook
from actionmap.errors import ActionmapError, DefinitionError
from actionmap.store.protocols import DefinitionStore
from actionmap.telemetry import logger


class StoredDefinition(msgspec.Struct, frozen=True):
    """A definition as the store keeps it."""

    #: Counts the writes of this definition from 1; its ETag.
    version: int
    kind: str
    definition: dict[str, Any]


_decoder = msgspec.json.Decoder(StoredDefinition)


class Registry:
    """The definitions of one store, as last read; ``rulebook`` is swapped as a whole."""

    def __init__(self, store: DefinitionStore) -> None:
        self._store = store
        self._log = logger("registry")
        #: Definitions, and the version of each, by key ``Kind/name``.
        self.definitions: Mapping[str, Definition] = {}
        self.versions: Mapping[str, int] = {}
        self.rulebook: Rulebook = compile_rulebook({})
        #: Why the newest revision is not in use; "" when it is.
        self.refused = ""

    @property
    def revision(self) -> int:
        """The revision in use."""
        return self.rulebook.revision

    async def refresh(self) -> bool:
        """Take over the newest revision of the store; True when there was one.

        A revision that does not compile is refused as a whole, and the last good one stays in use.

        Raises:
            Unreachable: the store does not answer.
        """
        if await self._store.revision() == self.revision:
            return False
        revision, stored = await self._store.read()
        if revision == self.revision:
            return False
        try:
            definitions, versions = _decoded(stored)
            rulebook = compile_rulebook(definitions, revision, versions)
        except (DefinitionError, msgspec.DecodeError) as error:
            if self.refused != str(error):
                self._log.error("rulebook.refused", revision=revision, in_use=self.revision, reason=str(error))
            self.refused = str(error)
            return False
        if revision < self.revision:
            self._log.error("rulebook.went_back", revision=revision, from_revision=self.revision,
                            means="the store lost definitions; apply them again")  # fmt: skip
        self.definitions, self.versions, self.rulebook, self.refused = definitions, versions, rulebook, ""
        self._log.info("rulebook.loaded", revision=revision, maps=len(rulebook.maps), hash=rulebook.content_hash[:12])
        return True

    async def change(self, changed: Mapping[str, Definition], deleted: frozenset[str] = frozenset()) -> int:
        """Write ``changed`` and delete ``deleted``, all or nothing; returns the new revision.

        Raises:
            DefinitionError: the set as it would be then does not compile.
            ActionmapError: the newest stored set does not compile here, so nothing can be changed from it.
            Conflict: somebody else changed the set since it was read here.
            Unreachable: the store does not answer.
        """
        if self.refused:
            raise ActionmapError(f"the stored definitions are of no use to this version: {self.refused}")
        after = {key: value for key, value in self.definitions.items() if key not in deleted} | dict(changed)
        versions = {key: self.versions.get(key, 0) + 1 for key in changed}
        compile_rulebook(after, self.revision + 1, {**self.versions, **versions})
        stored = {
            key: msgspec.json.encode(StoredDefinition(versions[key], definition.kind_name, definition.as_written()))
            for key, definition in changed.items()
        }
        revision = await self._store.write(self.revision, stored, sorted(deleted))
        await self.refresh()
        return revision


def _decoded(stored: Mapping[str, bytes]) -> tuple[dict[str, Definition], dict[str, int]]:
    definitions: dict[str, Definition] = {}
    versions: dict[str, int] = {}
    for key, raw in stored.items():
        entry = _decoder.decode(raw)
        definitions[key] = parse_definition(Document(data=entry.definition), entry.kind)
        versions[key] = entry.version
    return definitions, versions
