"""What a test sends with: the sender as workers have it, a delivery, an integration."""

import ssl
import time
from functools import cache
from ipaddress import ip_network
from typing import Any

import httpx

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.delivery import Delivery

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
SECRET = "MOST-secret-0815"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def delivery(**given: Any) -> Delivery:
    return Delivery(**{
        "id": "am1_x", "integration": "crm", "webhook": "w", "action_map": "m", "visitor_id": "v", "event_id": "e",
        "at": 1, "owed_at": 1, "method": "POST", "target": "/hook",
        "headers": {"Content-Type": "application/json"}, "body": "{}",
        "timeout_s": 5.0, **given,
    })  # fmt: skip


def to(base_url: str, **given: Any) -> Integration:
    return Integration.model_validate({"name": "crm", "baseUrl": base_url, **given})


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


@cache
def _usual_tls() -> ssl.SSLContext:
    """What a sender uses that is given none: to read all authorities' certificates takes longer than most tests."""
    return httpx.create_ssl_context()


def sender(*, hosts: Any = (), networks: Any = LOOPBACK, **given: Any) -> HttpSender:
    """A sender that may send to loopback, unless told otherwise."""
    given.setdefault("ssl_context", _usual_tls())
    secrets = environment_secrets({"ACTIONMAP_SECRET_A": SECRET, "ACTIONMAP_SECRET_KEY": KEY})
    return HttpSender(EgressGuard(hosts, networks), secrets, clock=wall_clock, **given)
