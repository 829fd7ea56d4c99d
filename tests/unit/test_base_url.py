"""Base URLs with places: tenants and environments, without a visitor ever choosing where credentials go."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shop import TEN, definitions, event, live

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.lint import lint
from actionmap.catalog.models import Integration
from actionmap.catalog.templates import fill_base_url
from actionmap.deliver.credentials import AttemptSecrets
from actionmap.deliver.request import build_request
from actionmap.demo.sandbox import is_sample
from actionmap.errors import DefinitionError, SettingsError
from actionmap.simulate import firing

CHAIN = """
kind: Integration
name: crm
baseUrl: %(base)s
---
kind: DataAction
name: act
integration: crm
state: published
contract:
  input: {type: object, properties: {tenant: {type: string}, region: {type: string}, account: {type: string}}}
request: {path: /leads, body: {}}
---
kind: Webhook
name: hook
dataAction: act
state: published
mappings:
  tenant: %(tenant)s
  region: {value: eu}
  account: {lookup: visitor.traits.account}
---
kind: ActionMap
name: m
trigger: {event: page_viewed}
action: {webhook: hook}
"""


def chain(base: str, tenant: str = "{value: acme}") -> dict:
    return definitions(CHAIN % {"base": f"'{base}'", "tenant": tenant})


def owed(base: str, **traits: object):
    [decision] = live(compile_rulebook(chain(base)), event(traits=traits))
    return (*decision.deliveries, *decision.dead_letters)[0]


def url(base: str, delivery) -> str:
    return build_request(delivery, integration(base), AttemptSecrets({}.get), timestamp_s=1).url


def integration(base: str) -> Integration:
    return Integration.model_validate({"name": "crm", "baseUrl": base})


def refused(base: str, **more: str) -> str:
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(chain(base, **more))
    return str(error.value)


@pytest.mark.parametrize(
    ("base", "made"),
    [
        ("https://crm.example.com/v1", "https://crm.example.com/v1/leads"),
        ("https://{{ tenant }}.example.com", "https://acme.example.com/leads"),
        ("https://{{ tenant }}-{{ region }}.api.example.com:8443/v1/", "https://acme-eu.api.example.com:8443/v1/leads"),
        ('https://{{ tenant | join("-", region) }}.example.com', "https://acme-eu.example.com/leads"),
        ("https://{{ tenant }}.{{ region }}.example.com/{{ account }}", "https://acme.eu.example.com/a%2F..%2Fb/leads"),
        ("https://crm.example.com/{{ account }}/x", "https://crm.example.com/a%2F..%2Fb/x/leads"),
        ('https://crm.example.com/{{ account | default("/") }}', "https://crm.example.com/a%2F..%2Fb/leads"),
    ],
)
def test_a_base_url_is_filled_at_each_attempt(base, made):
    delivery = owed(base, account="a/../b")
    assert url(base, delivery) == made
    assert firing(delivery, integration(base))["request"]["url"] == made


def test_a_delivery_keeps_only_the_values_that_the_base_url_asks_for():
    assert owed("https://crm.example.com").context == {}
    assert owed("https://{{ tenant }}.example.com/{{ account }}", account=10).context == {
        "@tenant": "acme",
        "account": "10",
    }


def test_a_base_url_that_is_changed_reaches_what_is_already_owed():
    delivery = owed("https://{{ tenant }}.example.com/{{ account }}", account="7")
    assert url("https://{{ tenant }}.example.org/v2/{{ account }}", delivery) == "https://acme.example.org/v2/7/leads"
    assert url("https://crm.example.org", delivery) == "https://crm.example.org/leads"


@pytest.mark.parametrize("base", ["https://{{ region }}.example.com", "https://crm.example.com/{{ region }}"])
def test_a_base_url_that_asks_for_more_than_a_delivery_keeps_waits_for_a_person(base):
    delivery = owed("https://{{ tenant }}.example.com")
    with pytest.raises(SettingsError, match="its baseUrl was changed, and now 'region' stands in"):
        url(base, delivery)
    assert firing(delivery, integration(base))["request"]["url"].startswith("https://")


def test_what_a_visitor_said_never_becomes_a_host_whatever_the_base_url_is_changed_to():
    delivery = owed("https://crm.example.com/{{ account }}", account="evil")
    with pytest.raises(SettingsError):
        url("https://{{ account }}.example.com", delivery)


def test_a_field_in_the_host_is_a_static_value_in_every_webhook():
    for base in ("https://{{ tenant }}.example.com", 'https://{{ region | join("-", tenant) }}.example.com'):
        message = refused(base, tenant="{lookup: visitor.traits.tenant, default: acme}")
        assert "Webhook hook: mappings.tenant.lookup: it stands in the host of the integration's baseUrl" in message
    compile_rulebook(chain("https://crm.example.com/{{ tenant }}", tenant="{lookup: visitor.traits.tenant}"))


@pytest.mark.parametrize(
    "value", ["''", "null", "a.b", "a/b", "A", "a_b", "'-a'", "'a-'", "a@b", "'a:1'", "ä", f"'{'a' * 64}'", '"a\\n"']
)
def test_a_static_value_that_makes_no_host_is_refused(value):
    kind = "[string, 'null']"
    text = CHAIN.replace("tenant: {type: string}", f"tenant: {{type: {kind}}}")
    with pytest.raises(DefinitionError) as error:
        compile_rulebook(
            definitions(text % {"base": "'https://{{ tenant }}.example.com'", "tenant": f"{{value: {value}}}"})
        )
    assert "Webhook hook: mappings: " in str(error.value)


def test_a_label_that_grows_too_long_is_refused():
    assert "make no host name" in refused(
        "https://{{ tenant }}-{{ region }}.example.com", tenant=f"{{value: {'a' * 62}}}"
    )


@pytest.mark.parametrize("value", [None, "", ".", ".."])
def test_a_value_that_makes_no_path_makes_the_delivery_unrenderable(value):
    assert owed("https://crm.example.com/{{ account }}", account=value).reason == "unrenderable"


@pytest.mark.parametrize(
    "base",
    [
        "{{ tenant }}",
        "{{ tenant }}://crm.example.com",
        "https://{{ tenant }}",
        "https://{{ tenant }}/x.example.com",
        "https://{{ tenant }}.com",
        "https://crm.{{ tenant }}",
        "https://crm.{{ tenant }}.com",
        "https://crm.example.com{{ tenant }}",
        "https://{{ tenant }}.0.0.1",
        "https://{{ tenant }}.0.0.0x1",
        "https://{{ tenant }}@crm.example.com",
        "https://u:{{ tenant }}@crm.example.com",
        "https://crm.example.com:{{ tenant }}",
        "https://crm.example.com:80{{ tenant }}/x",
        "https://[::{{ tenant }}]",
        "https://crm.example.com?{{ tenant }}",
        "https://crm.example.com/#{{ tenant }}",
        "https://{{ tenant }.example.com",
        "https://{{ tenant }}}}.example.com",
        "https://{{ tenant }}.example.com\\{{ tenant }}",
    ],
)
def test_a_place_where_a_host_is_not_the_authors_alone_is_refused(base):
    with pytest.raises(ValidationError):
        integration(base)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("https://crm.example.com/{{ acount }}", "DataAction act: integration: '{{ acount }}' names no field"),
        ("https://{{ tenant | uper }}.example.com", "there is no filter 'uper'"),
    ],
)
def test_every_data_action_has_the_fields_that_the_base_url_asks_for(base, said):
    assert said in refused(base)


def test_lint_and_sandbox_look_at_the_host_that_is_written_out():
    assert [str(one) for one in lint(chain("https://{{ tenant }}.example.com/{{ account }}"), now=TEN)] == []
    [finding] = lint(chain("https://{{ tenant }}.corp.internal"), now=TEN)
    assert "points inside a network" in str(finding)
    assert is_sample(integration('https://{{ tenant | default("/") }}.example.com'))


@given(st.text(min_size=1))
def test_whatever_a_visitor_sends_host_and_path_stay_apart(value):
    base = "https://{{ tenant }}.example.com/{{ account }}/x"
    if value in (".", ".."):
        return
    made = fill_base_url(base, {"@tenant": "acme", "account": value})
    assert made.startswith("https://acme.example.com/")
    assert made.isascii()
    assert made.count("/") == 4


def test_a_stored_delivery_keeps_its_context():
    from actionmap.delivery import decode_delivery, encode

    delivery = owed("https://{{ tenant }}.example.com")
    assert decode_delivery(encode(delivery)) == delivery
    assert b"context" not in encode(msgspec.structs.replace(delivery, context={}))
