"""Values of secrets, read for one attempt, and taken out of all that is kept of it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus

from actionmap.catalog.models.auth import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    OAuth2ClientCredentials,
)
from actionmap.catalog.secrets import MASK, SECRET_REFERENCE
from actionmap.errors import SettingsError
from actionmap.vault import SEALED, Vault

#: From what a definition holds, such as ``${ACTIONMAP_SECRET_CRM}``, to its value; raises SettingsError, whose message
#: names the variable and shows nothing of the value.
SecretReader = Callable[[str], str]

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Shorter ones are in every other word; they are no secrets.
_SHORTEST = 4


def environment_secrets(environ: Mapping[str, str], vault: Vault | None = None) -> SecretReader:
    """A reader of secrets from ``environ``, which is asked at each attempt, and of those that ``vault`` opens."""
    opener = vault or Vault()

    def read(text: str) -> str:
        if SEALED.match(text):
            return opener.open(text)
        found = SECRET_REFERENCE.match(text)
        if found is None:
            raise SettingsError("a secret is neither written as ${ACTIONMAP_SECRET_…} nor encrypted")
        value = environ.get(found[1], "")
        if not value:
            raise SettingsError(f"the secret {found[1]} is not set: set it in the environment of the workers")
        if _CONTROL.search(value):
            raise SettingsError(f"the secret {found[1]} holds a line end or another control character: set it without")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"the secret {found[1]} is no UTF-8: set it anew") from None
        return value

    return read


class AttemptSecrets:
    """Reads secrets for one attempt, and scrubs what is kept of it.

    Args:
        read: Gives their values.
    """

    def __init__(self, read: SecretReader) -> None:
        self._read = read
        self._values: list[str] = []

    def read(self, text: str) -> str:
        """The secret that ``text`` stands for.

        Raises:
            SettingsError: there is none; the message names its variable.
        """
        value = self._read(text)
        self._values.append(value)
        return value

    def identity(self, text: str) -> str:
        """``text``, or the value it refers to; raises as `read`."""
        return self.read(text) if SECRET_REFERENCE.match(text) else text

    def add(self, value: str) -> str:
        """``value``, from now on known as a secret."""
        self._values.append(value)
        return value

    def scrubbed(self, kept: T) -> T:
        """``kept``, a text or a JSON value, with a mask in place of every secret of this attempt.

        However it is encoded and whatever its case; what is to be cut off somewhere is scrubbed first.
        """
        if not kept:
            return kept
        found = self._known_forms()
        if not found:
            return kept
        secret = re.compile("|".join(map(re.escape, found)), re.IGNORECASE)
        return cast("T", _replaced(kept, secret))

    def _known_forms(self) -> list[str]:
        """The secrets of this attempt, in every form, the longest first."""
        return sorted({form for value in self._values for form in _forms(value)}, key=len, reverse=True)

    def excerpt(self, body: bytes, most: int, *, is_whole: bool) -> str:
        """The beginning of ``body`` as text, scrubbed: at most ``most`` characters.

        Args:
            body: As received; what is no UTF-8 is replaced.
            most: How many characters.
            is_whole: False when ``body`` was cut off, so that half of a secret may stand at its end.
        """
        longest = max(map(len, self._known_forms()), default=1)
        # More than is kept, and not all: to look for secrets costs time in proportion.
        begin = body[: 4 * (most + longest)]
        text = self.scrubbed(begin.decode(errors="replace"))
        if not is_whole or len(begin) < len(body):
            text = text[: max(0, len(text) - longest + 1)]
        return text[:most]


def authorization(auth: Auth, secrets: AttemptSecrets, access_token: str | None = None) -> dict[str, str]:
    """The headers by which the receiver knows us.

    Args:
        auth: As the integration says.
        secrets: Reads its secrets.
        access_token: For ``oauth2ClientCredentials``.

    Raises:
        SettingsError: a secret is missing or unusable.
    """
    match auth:
        case BasicAuth():
            return {"Authorization": basic(secrets.identity(auth.username), secrets.read(auth.password), secrets)}
        case BearerAuth():
            return {"Authorization": f"Bearer {secrets.read(auth.token)}"}
        case ApiKeyAuth():
            return {auth.header: secrets.read(auth.value)}
        case OAuth2ClientCredentials() if access_token is not None:
            return {"Authorization": f"Bearer {secrets.add(access_token)}"}
        case _:
            return {}


def basic(username: str, password: str, secrets: AttemptSecrets) -> str:
    """The value of ``Authorization`` by RFC 7617."""
    if ":" in username:
        raise SettingsError("a username holds a colon, which separates it from the password")
    return "Basic " + secrets.add(b64encode(f"{username}:{password}".encode()).decode())


def _replaced(value: Any, secret: re.Pattern[str]) -> Any:
    match value:
        case str():
            return secret.sub(MASK, value)
        case list():
            return [_replaced(one, secret) for one in value]
        case dict():
            return {_replaced(key, secret): _replaced(one, secret) for key, one in value.items()}
        case _:
            return value


def _forms(secret: str) -> tuple[str, ...]:
    """``secret`` as it may come back in an answer."""
    if len(secret) < _SHORTEST:
        return ()
    encoded = b64encode(secret.encode()).decode()
    return (
        secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], escape(secret),
        encoded, encoded.rstrip("="),
    )  # fmt: skip
