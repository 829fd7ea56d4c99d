"""Secrets at rest: encrypted with keys that only the processes know (Fernet: AES-128-CBC with HMAC-SHA256)."""

from __future__ import annotations

import re
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from actionmap.errors import SettingsError

#: How a secret is stored: a name that stays the same as long as it is the same secret, and what only a key opens.
SEALED = re.compile(r"^encrypted:v1:([0-9a-f]{8}):([A-Za-z0-9_=-]{1,16384})\Z", re.ASCII)
#: What to do where a key is missing.
MAKE_A_KEY = "set ACTIONMAP_SECRETS_KEY, for the server and the workers alike, to what `actionmap secrets key` prints"


class Vault:
    """Encrypts and opens secrets.

    Args:
        keys: Fernet keys, separated by commas or spaces: the first one encrypts, all of them open. None: it does
            neither.

    Raises:
        ValueError: one is no key; the message shows nothing of it.
    """

    def __init__(self, keys: str = "") -> None:
        self._keys = [_key(number, text) for number, text in enumerate(keys.replace(",", " ").split(), 1)]

    def seal(self, secret: str) -> str:
        """``secret`` as it may be stored.

        Raises:
            SettingsError: there is no key.
        """
        token = self._any_key().encrypt(secret.encode())
        return f"encrypted:v1:{sha256(token).hexdigest()[:8]}:{token.decode()}"

    def open(self, sealed: str) -> str:
        """The secret that was stored as ``sealed``.

        Raises:
            SettingsError: there is no key, or none that it was encrypted with; the message shows nothing of it.
        """
        return self._opened(sealed).decode()

    def can_open(self, sealed: str) -> bool:
        """Whether `open` would."""
        try:
            self.open(sealed)
        except SettingsError:
            return False
        return True

    def rotate(self, sealed: str) -> str:
        """``sealed`` encrypted anew with the first key, under its old name; itself where that key opens it already.

        Raises:
            SettingsError: as `open`.
        """
        secret = self._opened(sealed)
        first = self._keys[0]
        name, token = _parts(sealed)
        try:
            first.decrypt(token)
        except InvalidToken:
            return f"encrypted:v1:{name}:{first.encrypt(secret).decode()}"
        return sealed

    def _opened(self, sealed: str) -> bytes:
        _, token = _parts(sealed)
        try:
            return self._any_key().decrypt(token)
        except InvalidToken:
            raise SettingsError(
                "a stored secret was encrypted with a key that is not in ACTIONMAP_SECRETS_KEY; add that key behind "
                "the others, or write the secret anew"
            ) from None

    def _any_key(self) -> MultiFernet:
        if not self._keys:
            raise SettingsError(f"there is no key for secrets: {MAKE_A_KEY}")
        return MultiFernet(self._keys)


def new_key() -> str:
    """A random key."""
    return Fernet.generate_key().decode()


def _key(number: int, text: str) -> Fernet:
    try:
        return Fernet(text)
    except ValueError:
        raise ValueError(f"entry {number} is no key; `actionmap secrets key` prints one") from None


def _parts(sealed: str) -> tuple[str, str]:
    found = SEALED.match(sealed)
    if found is None:
        raise SettingsError("a stored secret is damaged; write it anew")
    return found[1], found[2]
