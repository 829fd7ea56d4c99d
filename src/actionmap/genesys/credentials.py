"""Credentials in a data action's headers and query → references to secrets; no value of any is ever carried over.

Genesys puts them in from the integration (``${credentials.x}``, ``${authResponse.x}``), which no export holds; people
also write them out, and then an export does hold them.
"""

from __future__ import annotations

import re
from typing import Any

#: Names of headers and parameters whose values are credentials.
_SECRET_NAME = re.compile(
    r"auth|token|secret|passw|api-?_?key|apikey|cookie|signature|credential|subscription-key", re.I
)
_FROM_INTEGRATION = re.compile(r"\$!?\{?(credentials|authResponse)\b")


def is_credential(name: str, value: str) -> bool:
    """Whether the header or parameter ``name`` carries a credential."""
    return bool(_FROM_INTEGRATION.search(value) or _SECRET_NAME.search(name))


def reference(name: str) -> str:
    """A reference to the secret of the integration ``name``."""
    return f"${{ACTIONMAP_SECRET_{re.sub('[^A-Z0-9]', '_', name.upper())[:80]}}}"


def auth_of(header: str, value: str, secret: str) -> dict[str, Any]:
    """What an integration's ``auth`` is, of a header that carries a credential."""
    if header.lower() == "authorization":
        scheme = value.strip().partition(" ")[0].lower()
        if scheme == "basic":
            return {"type": "basic", "username": f"{secret[:-1]}_USER}}", "password": secret}
        return {"type": "bearer", "token": secret}
    return {"type": "apiKey", "header": header, "value": secret}


def without_query(template: str) -> str:
    """A template of a URL as it may be shown: without user, password and query, which may hold a key."""
    shown = re.sub(r"//[^/?#@]*@", "//", template.partition("?")[0])
    return shown[:300] + (" (and a query, which is not shown)" if "?" in template else "")
