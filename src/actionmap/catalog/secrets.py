"""Secrets in definitions: a reference, or written out; written out they are stored encrypted and shown masked."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, SerializationInfo

from actionmap.vault import SEALED

#: The only names that a reference may use, so that no definition can read another part of the environment.
SECRET_REFERENCE = re.compile(r"^\$\{(ACTIONMAP_SECRET_[A-Z0-9_]{1,100})\}\Z", re.ASCII)
#: What is shown in place of a secret; behind a dash the name of a stored one.
MASK = "********"
MASKED = re.compile(r"^\*{8}(?:-([0-9a-f]{8}))?\Z", re.ASCII)
#: A context that `BaseModel.model_dump` is given to show secrets as they are: for the store, and on the way to it.
PLAIN = "plain"

_MAX_SECRET = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class SecretText(str):
    """A secret as a definition holds it: reference, stored form, mask, or itself; not shown when printed in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(masked(self))


def masked(text: str) -> str:
    """``text`` as anybody may see it: a reference as it is, anything else as a mask."""
    if SECRET_REFERENCE.match(text) or MASKED.match(text):
        return str(text)
    sealed = SEALED.match(text)
    return f"{MASK}-{sealed[1]}" if sealed else MASK


def is_written_out(text: str) -> bool:
    """Whether ``text`` is the secret itself."""
    return not (SECRET_REFERENCE.match(text) or MASKED.match(text) or SEALED.match(text))


def secret_bytes(secret: str) -> bytes:
    """The signing key that ``secret`` stands for: base64 after ``whsec_`` and ``whsk_``, else its UTF-8 bytes.

    Raises:
        ValueError: it is empty, no base64, or no ed25519 key after ``whsk_``; the message shows nothing of it.
    """
    prefix = next((prefix for prefix in ("whsec_", "whsk_") if secret.startswith(prefix)), "")
    key = _from_base64(prefix, secret) if prefix else secret.encode()
    if not key:
        raise ValueError("the secret is empty")
    # 32 bytes, or these and the public key, as libsodium and Svix write it.
    if prefix == "whsk_" and len(key) not in (32, 64):
        raise ValueError("what follows whsk_ is no ed25519 key: it has 32 bytes, or 64 with the public key")
    return key


def _from_base64(prefix: str, secret: str) -> bytes:
    text = secret.removeprefix(prefix).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {prefix} is no base64") from None


def _check_secret(text: str) -> SecretText:
    if is_written_out(text):
        if not 0 < len(text) <= _MAX_SECRET:
            raise ValueError(f"a secret has 1 to {_MAX_SECRET} characters")
        if _CONTROL.search(text) or not text.isprintable():
            raise ValueError("a secret has no line end, control or invisible character")
        check_reference(text)
        if text.startswith("encrypted:"):
            raise ValueError("a text that begins with encrypted: is no secret; write the secret itself or a reference")
    return SecretText(text)


def check_reference(text: str) -> str:
    """``text`` when it is one reference alone, or holds none.

    Raises:
        ValueError: it is neither; the message shows nothing of it.
    """
    if "${" in text and not SECRET_REFERENCE.match(text):
        raise ValueError(
            'a reference is the whole text, such as "${ACTIONMAP_SECRET_CRM}"; where a secret itself holds ${, put it '
            "into an environment variable and refer to that"
        )
    return text


def _written(text: str, info: SerializationInfo) -> str:
    return str(text) if info.context == PLAIN else masked(text)


#: ``${ACTIONMAP_SECRET_…}``, of which the reference is stored and the value read when a request is sent; or the secret.
Secret = Annotated[
    str,
    AfterValidator(_check_secret),
    PlainSerializer(_written, return_type=str),
    Field(examples=["${ACTIONMAP_SECRET_CRM}"]),
]
