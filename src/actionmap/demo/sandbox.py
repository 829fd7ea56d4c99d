"""Where webhooks of sample integrations go: to a receiver of our own, because their hosts exist nowhere.

RFC 2606 keeps ``example.com``, ``*.example``, ``*.test`` and ``*.invalid`` for samples. An integration with any other
host is sent to where it says, through the same egress guard as in production.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from actionmap.catalog.models import Integration
from actionmap.catalog.models.auth import OAuth2ClientCredentials
from actionmap.catalog.places import split_base_url, without_places
from actionmap.deliver.credentials import SecretReader
from actionmap.deliver.outward import Outward
from actionmap.delivery import Attempt, Delivery
from actionmap.demo.receiver import TOKEN_PATH, Receiver, Scheme
from actionmap.errors import SettingsError

_SAMPLE_DOMAINS = ("example.com", "example.org", "example.net", "example", "test", "invalid")


def is_sample(integration: Integration) -> bool:
    """True when the integration's host is one that is kept for samples."""
    host = (urlsplit(without_places(integration.base_url)).hostname or "").rstrip(".")
    return any(host == domain or host.endswith(f".{domain}") for domain in _SAMPLE_DOMAINS)


def add_sample_secrets(values: dict[str, str], integrations: Iterable[Integration]) -> None:
    """Add to ``values`` a random one for each environment variable that sample ``integrations`` refer to and miss."""
    for integration in integrations:
        if is_sample(integration):
            for name in integration.secret_names():
                values[name] = values.get(name) or f"whsec_{secrets.token_hex(16)}"


def signed_paths(integrations: Iterable[Integration], read: SecretReader) -> dict[str, tuple[Scheme, str]]:
    """For the receiver: path prefix of each sample integration that signs in the usual header → scheme and secret."""
    signed: dict[str, tuple[Scheme, str]] = {}
    for integration in integrations:
        signing = integration.signing
        if is_sample(integration) and signing.scheme != "none" and signing.header is None:
            with suppress(SettingsError):  # its attempts say so
                signed[f"/{integration.name}/"] = (signing.scheme, read(signing.in_use[0]))
    return signed


class SandboxSender:
    """Sends deliveries of sample integrations to the receiver, all others to where they belong."""

    def __init__(self, receiver: Receiver, values: dict[str, str], to_receiver: Outward, outward: Outward) -> None:
        """Args:
        receiver: Where samples go, below ``/<integration>/``.
        values: The secrets that ``to_receiver`` reads; those of samples defined meanwhile are added.
        to_receiver: A sender that may reach it.
        outward: The sender for everything else.
        """
        self._receiver = receiver
        self._values = values
        self._to_receiver = to_receiver
        self._outward = outward

    async def send(self, delivery: Delivery, integration: Integration) -> Attempt:
        """Make one attempt."""
        if not is_sample(integration):
            return await self._outward.send(delivery, integration)
        return await self._to_receiver.send(delivery, self._moved(integration))

    async def probe(self, integration: Integration, origin: str) -> str:
        """See `Prober.probe`."""
        if not is_sample(integration):
            return await self._outward.probe(integration, origin)
        return await self._to_receiver.probe(self._moved(integration), self._receiver.url)

    def _moved(self, integration: Integration) -> Integration:
        """``integration`` with the receiver in its host's place."""
        add_sample_secrets(self._values, [integration])
        path = split_base_url(integration.base_url)[1].rstrip("/")
        base = f"{self._receiver.url}/{integration.name}"
        auth = integration.auth
        if isinstance(auth, OAuth2ClientCredentials):
            auth = auth.model_copy(update={"token_url": base + TOKEN_PATH})
        return integration.model_copy(update={"base_url": base + path, "auth": auth})
