"""Secrets that are written out in definitions → the form in which they are stored, encrypted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from actionmap.catalog.documents import Document, PathKey
from actionmap.catalog.models import Definition, Integration
from actionmap.catalog.models.auth import secrets_of
from actionmap.catalog.parse import Definitions, parse_definition
from actionmap.catalog.secrets import MASKED, SECRET_REFERENCE, is_written_out
from actionmap.errors import DefinitionError, Finding, SettingsError
from actionmap.vault import SEALED, Vault

#: Fields of ``auth`` that hold a secret.
_IN_AUTH = ("password", "token", "value", "clientSecret")


def sealed(wanted: Definitions, stored: Definitions, vault: Vault) -> dict[str, Definition]:
    """``wanted`` as it may be stored.

    A secret that is written out is encrypted, or becomes what is stored when that is the same one; a mask becomes what
    it stands for.

    Args:
        wanted: Definitions as an author gives them.
        stored: Those that the store holds.
        vault: Encrypts and opens.

    Raises:
        DefinitionError: there is no key to encrypt with, or a mask stands for nothing; all findings at once.
    """
    after: dict[str, Definition] = {}
    findings: list[Finding] = []
    for key, definition in wanted.items():
        after[key] = definition
        if isinstance(definition, Integration) and not _is_by_reference(definition):
            try:
                after[key] = _Sealer(definition, stored.get(key), vault).sealed()
            except DefinitionError as error:
                findings.extend(error.findings)
    if findings:
        raise DefinitionError(findings)
    return after


def rotated(stored: Definitions, vault: Vault) -> dict[str, Definition]:
    """Those of ``stored`` that hold secrets which the first key does not open, with these encrypted anew.

    Raises:
        SettingsError: a secret was encrypted with a key that is not there.
    """
    after: dict[str, Definition] = {}
    for key, definition in stored.items():
        if isinstance(definition, Integration) and definition.sealed_secrets():
            written = definition.as_stored()
            for holder, name, _ in _places(written):
                if SEALED.match(holder[name]):
                    holder[name] = vault.rotate(holder[name])
            if written != definition.as_stored():
                after[key] = parse_definition(Document(data=written), definition.kind_name)
    return after


def write_out_secrets(wanted: Iterable[Definition]) -> bool:
    """Whether any of ``wanted`` holds a secret that is written out."""
    integrations = [some for some in wanted if isinstance(some, Integration)]
    return any(is_written_out(text) for one in integrations for text in secrets_of(one.auth, one.signing))


def _is_by_reference(integration: Integration) -> bool:
    return not any(
        is_written_out(text) or MASKED.match(text) or SEALED.match(text)
        for text in secrets_of(integration.auth, integration.signing)
    )


class _Sealer:
    """Turns the secrets of one integration into what may be stored."""

    def __init__(self, integration: Integration, before: Definition | None, vault: Vault) -> None:
        self._integration = integration
        self._vault = vault
        places = _places(before.as_stored()) if before is not None else iter(())
        texts: dict[PathKey, str] = {path: holder[name] for holder, name, path in places}
        #: What is stored now, by place.
        self._stored = {path: text for path, text in texts.items() if SEALED.match(text)}

    def sealed(self) -> Definition:
        written = self._integration.as_stored()
        findings: list[Finding] = []
        for holder, name, path in _places(written):
            try:
                holder[name] = self._kept(holder[name], path) or self._encrypted(holder[name], path)
            except SettingsError as error:
                subject = f"{self._integration.kind_name} {self._integration.name}"
                findings.append(Finding(message=str(error), path=".".join(map(str, path)), subject=subject))
        if findings:
            raise DefinitionError(findings)
        return parse_definition(Document(data=written), self._integration.kind_name)

    def _kept(self, text: str, path: PathKey) -> str | None:
        """What stays as it is stored; None for a secret that is written out."""
        if SECRET_REFERENCE.match(text) or text in self._stored.values():
            return text
        if SEALED.match(text):
            raise SettingsError("it is encrypted for another place; write the secret itself, or a reference")
        if (mask := MASKED.match(text)) is None:
            return None
        named = (old for old in self._stored.values() if old.startswith(f"encrypted:v1:{mask[1]}:"))
        kept = next(named, None) if mask[1] else self._stored.get(path)
        if kept is None:
            raise SettingsError("the mask keeps a stored secret, and there is none here; write it out, or a reference")
        return kept

    def _encrypted(self, secret: str, path: PathKey) -> str:
        there = self._stored.get(path)
        for old in ([there] if there else []) + list(self._stored.values()):
            if self._vault.can_open(old) and self._vault.open(old) == secret:
                return old
        return self._vault.seal(secret)


def _places(written: dict[str, Any]) -> Iterator[tuple[Any, Any, PathKey]]:
    """Container, key and path of each secret in an integration's JSON form."""
    auth, signing = written.get("auth") or {}, written.get("signing") or {}
    yield from ((auth, name, ("auth", name)) for name in _IN_AUTH if name in auth)
    if signing.get("secret") is not None:
        yield signing, "secret", ("signing", "secret")
    for index in range(len(signing.get("secrets") or ())):
        yield signing["secrets"], index, ("signing", "secrets", index)
