"""Requests of every content type, from a visitor's value to what a receiver reads off the wire."""

import email
import json
import time
from ipaddress import ip_network
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import msgspec
import pytest

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import read_documents
from actionmap.catalog.parse import parse_documents
from actionmap.consume.parse import Record, parse_record
from actionmap.decide import Policy, decide
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.demo.receiver import Receiver

EVIL = 'Zoë\r\n--x\r\nX-Evil: 1\r\n\r\n]]><a b="&amp;\u2028{{7*7}}'
RULES = """
kind: Integration
name: crm
baseUrl: "{base}/{{{{ account }}}}"
---
kind: DataAction
name: act
integration: crm
state: published
contract: {{input: {{type: object, properties: {{name: {{type: string}}, account: {{type: string}}}}}}}}
request: {{path: /leads, headers: {{X-Account: "of {{{{ account }}}}"}}, {request}}}
---
kind: Webhook
name: hook
dataAction: act
state: published
mappings: {{name: {{lookup: visitor.traits.name}}, account: {{lookup: visitor.traits.account}}}}
---
kind: ActionMap
name: m
trigger: {{event: page_viewed}}
action: {{webhook: hook}}
"""


def owed(base: str, request: str):
    """The integration, and what is owed to it for a visitor who calls itself `EVIL`."""
    rules = compile_rulebook(parse_documents(read_documents(RULES.format(base=base, request=request)))[0])
    traits = {"name": EVIL, "account": "Köln/7"}
    event = {"eventName": "page_viewed", "visitorId": "v", "eventId": "e", "traits": traits}
    seen = parse_record(Record("events", 0, 0, 1_700_000_000_000, None, msgspec.json.encode(event))).event
    [delivery] = decide(seen, None, rules, -1, Policy()).deliveries
    return rules.integrations["crm"], delivery


def sender() -> HttpSender:
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    return HttpSender(guard, environment_secrets({}), clock=lambda: time.time_ns() // 1_000_000)


async def received(request: str):
    async with Receiver() as receiver, sender() as out:
        integration, delivery = owed(receiver.url, request)
        attempts = [await out.send(delivery, integration) for _ in range(2)]
        first, second = await receiver.wait_for(2)
    assert [attempt.outcome for attempt in attempts] == ["delivered", "delivered"]
    assert (first.body, first.headers["content-type"]) == (second.body, second.headers["content-type"])
    assert first.path == "/K%C3%B6ln%2F7/leads"
    assert "x-evil" not in first.headers
    return first


def in_form_data(body: bytes, content_type: str):
    message = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return [(part.get_param("name", header="content-disposition"), part.get_payload(decode=True).decode())
            for part in message.get_payload()]  # fmt: skip


def in_xml(body: bytes, _: str):
    return [(one.tag, one.text) for one in ElementTree.fromstring(body)]


@pytest.mark.parametrize(
    ("request_", "content_type", "read"),
    [
        ("body: {name: '{{ name }}', v: '2'}", "application/json", lambda body, _: list(json.loads(body).items())),
        (
            "contentType: formEncoded, body: {name: '{{ name }}', v: 2}",
            "application/x-www-form-urlencoded",
            lambda body, _: parse_qsl(body.decode()),
        ),
        ("contentType: formData, body: {name: '{{ name }}', v: 2}", "multipart/form-data; boundary=", in_form_data),
        (
            "contentType: xml, body: '<lead><name>{{ name }}</name><v>2</v></lead>'",
            "application/xml; charset=utf-8",
            in_xml,
        ),
    ],
)
async def test_a_receiver_reads_the_visitors_value_and_nothing_else_at_every_attempt(request_, content_type, read):
    request = await received(request_)
    assert request.headers["content-type"].startswith(content_type)
    assert read(request.body, request.headers["content-type"]) == [("name", EVIL), ("v", "2")]


async def test_the_host_that_is_dialled_is_vetted_as_it_was_filled():
    integration, delivery = owed("http://127.0.0.1", "body: {}")
    inward = integration.model_copy(update={"base_url": "https://{{ name }}.corp.internal"})
    carrying = msgspec.structs.replace(delivery, context={"@name": "acme"})
    async with HttpSender(EgressGuard((), ()), environment_secrets({}), clock=lambda: 0) as out:
        attempt = await out.send(carrying, inward)
    assert (attempt.outcome, attempt.error[:8]) == ("dead", "blocked:")
    assert "acme.corp.internal" in attempt.error
