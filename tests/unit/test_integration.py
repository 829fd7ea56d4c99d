"""Authentication and signing of an integration: what may be written, and which secrets it needs."""

import pytest

from actionmap.catalog.lint import lint
from actionmap.catalog.models import Integration
from actionmap.errors import DefinitionError
from support import definitions

A, B = "ACTIONMAP_SECRET_A", "ACTIONMAP_SECRET_B"
OAUTH = {"type": "oauth2ClientCredentials", "tokenUrl": "https://login.example.com/token?v=2", "clientId": "me",
         "clientSecret": f"${{{A}}}"}  # fmt: skip
SHOWN_NOWHERE = "s3cret"


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, set()),
        ({"auth": {"type": "none"}, "signing": {"scheme": "none"}}, set()),
        ({"auth": {"type": "basic", "username": "me", "password": f"${{{A}}}"}}, {A}),
        ({"auth": {"type": "bearer", "token": f"${{{A}}}"}}, {A}),
        ({"auth": {"type": "apiKey", "header": "X-Key", "value": f"${{{A}}}"},
          "signing": {"scheme": "standardWebhooks", "secret": f"${{{B}}}"}}, {A, B}),
        ({"auth": {"type": "basic", "username": f"${{{B}}}", "password": f"${{{A}}}"}}, {A, B}),
        ({"auth": {**OAUTH, "clientId": f"${{{B}}}", "clientSecret": f"${{{A}}}"}}, {A, B}),
        ({"signing": {"scheme": "standardWebhooks", "secrets": [f"${{{A}}}", "written-out", f"${{{B}}}"]}}, {A, B}),
    ],
)  # fmt: skip
def test_the_secrets_of_authentication_and_signature_are_named(more: dict, names: set[str]):
    assert read(more).secret_names() == names


def read(more: dict) -> Integration:
    written = {"kind": "Integration", "name": "crm", "baseUrl": "https://crm.example.com", **more}
    (integration,) = definitions([written]).values()
    assert isinstance(integration, Integration)
    return integration


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"auth": {**OAUTH, "tokenUrl": "ftp://login.example.com"}}, "auth.tokenUrl: tokenUrl is no http"),
        ({"auth": {**OAUTH, "tokenUrl": "https://login.example.com:port"}}, "tokenUrl is no http"),
        ({"auth": {**OAUTH, "tokenUrl": f"https://me:{SHOWN_NOWHERE}@login.example.com"}}, "use clientId"),
        ({"auth": {**OAUTH, "tokenUrl": "https://{{ host }}/token"}}, "no template"),
        ({"auth": {**OAUTH, "tokenUrl": "https://login.example.com/#x"}}, "no fragment"),
        ({"auth": {**OAUTH, "tokenUrl": "https://login.example.com/ x"}}, "no spaces"),
        ({"auth": {**OAUTH, "scope": "a  b"}}, "auth.scope"),
        ({"auth": {**OAUTH, "scope": 'a"b'}}, "auth.scope"),
        ({"auth": {**OAUTH, "clientId": f"x{SHOWN_NOWHERE}${{{A}}}"}}, "auth.clientId: a reference is the whole text"),
        ({"auth": {**OAUTH, "clientAuthentication": "jwt"}}, "'jwt' is not one of basic, body"),
        ({"auth": {**OAUTH, "clientSecret": {"value": SHOWN_NOWHERE}}}, "auth.clientSecret: expected a text"),
        ({"auth": {**OAUTH, "clientSecret": f"{SHOWN_NOWHERE}\r\nX: y"}}, "no line end"),
        ({"auth": {**OAUTH, "clientSecret": f"{SHOWN_NOWHERE}\ud800"}}, "no line end"),
        ({"auth": {**OAUTH, "clientSecret": SHOWN_NOWHERE * 1000}}, "1 to 4096"),
        ({"auth": {**OAUTH, "clientSecrt": SHOWN_NOWHERE}}, "did you mean 'clientSecret'?"),
        ({"auth": {"type": "bearer", "token": [SHOWN_NOWHERE]}}, "expected a text"),
        ({"auth": {"type": "bearer", "token": f"encrypted:v1:{SHOWN_NOWHERE}"}}, "begins with encrypted:"),
        ({"signing": {"scheme": "standardWebhooks"}}, "needs a secret"),
        ({"signing": {"scheme": "standardWebhooks", "secrets": []}}, "an empty list is refused"),
        ({"signing": {"scheme": "standardWebhooks", "secrets": ["a"] * 11}}, "at most 10"),
        ({"signing": {"scheme": "standardWebhooks", "secrets": [f"whsec_!{SHOWN_NOWHERE}"]}}, "no base64"),
        ({"signing": {"scheme": "standardWebhooks", "secret": "whsk_YWJj"}}, "no ed25519 key"),
        ({"signing": {"scheme": "xHubSignature", "secret": "whsk_" + "YWJj" * 10 + "YWI="}}, "standardWebhooks only"),
        ({"signing": {"scheme": "xHubSignature", "secret": "a", "secrets": ["b"]}}, "not both"),
        ({"signing": {"scheme": "none", "secrets": ["a"]}}, "signs nothing"),
        ({"signing": {"scheme": "none", "header": "X-Mine"}}, "signs nothing"),
        ({"signing": {"scheme": "standardWebhooks", "secret": "a", "header": "X-Mine"}}, "headers of its own"),
        ({"signing": {"scheme": "xHubSignature", "secret": "a", "header": "Authorization"}}, "means something else"),
        ({"signing": {"scheme": "xHubSignature", "secret": "a", "header": "webhook-id"}}, "means something else"),
        ({"signing": {"scheme": "xHubSignature", "secret": "a", "header": "X Mine"}}, "is no header name"),
        ({"signing": {"scheme": "xHubSignature", "secret": "a", "header": "x-key"},
          "auth": {"type": "apiKey", "header": "X-Key", "value": "a"}}, "the same header"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_them_is_told_and_no_secret_shown(more: dict, says: str):
    with pytest.raises(DefinitionError) as caught:
        read(more)
    assert says in str(caught.value)
    assert SHOWN_NOWHERE not in str(caught.value)


def test_where_tokens_come_from_is_examined_as_base_urls_are():
    inward = read({"auth": {**OAUTH, "tokenUrl": "http://169.254.169.254/token"}})
    (finding,) = [some for some in lint({inward.key: inward}, now=0) if some.path == "auth.tokenUrl"]
    assert finding.severity == "error"
    assert [some for some in lint({"Integration/crm": read({"auth": OAUTH})}, now=0) if some.severity == "error"] == []
