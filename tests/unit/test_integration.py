"""Which secrets an integration needs."""

import pytest

from actionmap.catalog.models import Integration
from support import definitions

A, B = "ACTIONMAP_SECRET_A", "ACTIONMAP_SECRET_B"


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, set()),
        ({"auth": {"type": "none"}, "signing": {"scheme": "none"}}, set()),
        ({"auth": {"type": "basic", "username": "me", "password": f"${{{A}}}"}}, {A}),
        ({"auth": {"type": "bearer", "token": f"${{{A}}}"}}, {A}),
        ({"auth": {"type": "apiKey", "header": "X-Key", "value": f"${{{A}}}"},
          "signing": {"scheme": "standardWebhooks", "secret": f"${{{B}}}"}}, {A, B}),
    ],
)  # fmt: skip
def test_the_secrets_of_authentication_and_signature_are_named(more: dict, names: set[str]):
    written = {"kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com", **more}
    (integration,) = definitions([written]).values()
    assert isinstance(integration, Integration)
    assert integration.secret_names() == names
