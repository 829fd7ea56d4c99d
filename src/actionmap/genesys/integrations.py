"""Where data actions go → Integration, one for each host and way of authentication.

What a ``genesyscloud_integration`` holds of credentials is in no export, so each is inactive until somebody has looked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from actionmap.genesys import credentials, terms
from actionmap.genesys.reading import Resource
from actionmap.genesys.report import Draft
from actionmap.genesys.velocity import finished, has_places, pairs

_ABSOLUTE = re.compile(r"(https?://[^/?#\s]+)(.*)", re.DOTALL | re.IGNORECASE)


@dataclass(slots=True)
class Target:
    """The address of a data action, taken apart."""

    #: Scheme and host; "" when it is not known.
    origin: str
    #: ``path`` and ``params`` of the request.
    request: dict[str, Any]
    #: Why the origin is not known.
    unknown: str = ""
    #: Header and first word of the credential that requests carry.
    auth: tuple[str, str] | None = None
    params_left_out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, text: str, template: str) -> Target:
        """The target of a marked ``text``.

        Raises:
            Untranslatable: it cannot be taken apart.
        """
        absolute = _ABSOLUTE.fullmatch(text)
        origin, rest = (absolute[1], absolute[2]) if absolute else ("", text)
        path, _, query = rest.partition("#")[0].partition("?")
        secret = [pair for pair in query.split("&") if _is_secret(pair)]
        params = pairs("&".join(pair for pair in query.split("&") if not _is_secret(pair)))
        request: dict[str, Any] = {"path": finished(path)} | ({"params": params} if params else {})
        named = [pair.partition("=")[0] for pair in secret]
        if not origin or has_places(origin) or "@" in origin:
            why = (
                "its host is computed"
                if absolute
                else "it goes to the Genesys Cloud API itself"
                if path
                else "it is not known"
            )
            return cls("", request, why, params_left_out=named)
        return cls(origin, request, params_left_out=named)

    def credential(self, draft: Draft, header: str, value: str) -> None:
        """Take note of a header that carries a credential."""
        if self.auth is None:
            self.auth = (header, value.strip().partition(" ")[0].lower())
        else:
            draft.decide(
                "request.headers", f"a second credential, in the header {header}, was left out; an integration has one"
            )


def _is_secret(pair: str) -> bool:
    name, _, value = pair.partition("=")
    return not has_places(value) and credentials.is_credential(name, value)


class Integrations:
    """The integrations that were made, each once."""

    def __init__(self, names: terms.Names) -> None:
        self._names = names
        self._made: dict[tuple[str, tuple[str, str] | None], Draft] = {}

    @property
    def drafts(self) -> list[Draft]:
        """All of them."""
        return list(self._made.values())

    def of(self, target: Target, resource: Resource) -> Draft:
        """The integration of ``target``; ``resource``: what it is made for, where it is a new one."""
        key = (target.origin, target.auth)
        if key not in self._made:
            self._made[key] = self._make(target, resource)
        return self._made[key]

    def _make(self, target: Target, resource: Resource) -> Draft:
        host = urlsplit(target.origin).hostname if target.origin else "genesys"
        name, _ = self._names.take("Integration", (host or "genesys").replace(".", "-"))
        url = target.origin or f"https://{terms.host_label(name)}.invalid"
        draft = Draft("Integration", {"name": name, "baseUrl": url}, resource)
        if not target.origin:
            draft.decide("baseUrl", f"{target.unknown}; write where requests go")
        secret = credentials.reference(name)
        if target.auth:
            draft.fields["auth"] = credentials.auth_of(*target.auth, secret)
            draft.decide("auth", f"requests carry a credential in the header {target.auth[0]}, which was not carried "
                         f"over; put it into the environment as {secret[2:-1]}, or choose another auth")  # fmt: skip
        else:
            draft.decide("auth", "no export holds an integration's credentials; write the auth that it takes, with a "
                         f"reference such as {secret}")  # fmt: skip
        draft.fields["active"] = False
        draft.decide("active", "write active: true when address and auth are right")
        return draft
