"""P31, and beyond the list: what hostile answers, schemas and patterns hold does no harm and costs little."""

import asyncio
import encodings
import json
import time
from typing import Any

import pytest
from aiohttp import web
from test_outcomes import chained, run, store  # noqa: F401 - a fixture

from actionmap.catalog.answer_paths import BadAnswerPath, compile_answer_path
from actionmap.catalog.conditions import compile_comparison
from actionmap.catalog.contracts import contract_problems
from actionmap.catalog.models.data_action import Contract
from actionmap.catalog.models.trigger import Comparison
from actionmap.deliver.answer import MAX_VALUE_BYTES, take
from actionmap.delivery import Capture
from actionmap.store.redis import RedisStore
from hostile.sending import delivery, sender, to
from hostile.server import OK, Server, answer, answering, dripping, flooding, growth, packets
from support import event

QUICK_S = 0.05
USERS = '{"users":[{"id":%s}]}'
#: Each is answered to the question for a subscriber's id; what is learned of it.
ANSWERS: dict[str, tuple[bytes, Any]] = {
    "as deep as a decoder goes": (USERS.encode() % (b"[" * 900 + b"]" * 900), None),
    "deeper": (USERS.encode() % (b"[" * 20_000 + b"]" * 20_000), None),
    "objects as deep": (USERS.encode() % (b'{"a":' * 900 + b"1" + b"}" * 900), None),
    "deep beside it": (b'{"x":%s,"users":[{"id":7}]}' % (b"[" * 900 + b"]" * 900), 7),
    "a number of 4,000 digits": (USERS.encode() % (b"9" * 4000), int("9" * 4000)),
    "a number of 60,000 digits": (USERS.encode() % (b"9" * 60_000), None),
    "a negative one": (USERS.encode() % (b"-" + b"9" * 4000), -int("9" * 4000)),
    "1e999999": (USERS.encode() % b"1e999999", None),
    "1e308": (USERS.encode() % b"1e308", 1e308),
    "1e-999999": (USERS.encode() % b"1e-999999", 0.0),
    "NaN": (USERS.encode() % b"NaN", None),
    "Infinity": (USERS.encode() % b"Infinity", None),
    "half a surrogate pair": (USERS.encode() % rb'"a\ud800b"', None),
    "one in a key": (USERS.encode() % rb'{"\udfff":1}', None),
    "one as bytes": (USERS.encode() % b'"\xed\xa0\x80"', None),
    "NUL and line ends": (USERS.encode() % rb'"\u0000\r\nX-Evil: 1\u2028"', "\0\r\nX-Evil: 1\u2028"),
    "the same key twice": (b'{"users":[{"id":1,"id":2}],"users":[{"id":3,"id":4}]}', 4),
    "__proto__": (USERS.encode() % b'{"__proto__":{"admin":true}}', {"__proto__": {"admin": True}}),
    "a template": (USERS.encode() % b'"{{ visitor }}{{7*7}}"', "{{ visitor }}{{7*7}}"),
    "a long text": (USERS.encode() % (b'"' + b"x" * MAX_VALUE_BYTES + b'"'), None),
    "a list of 20,000": (USERS.encode() % (b"[" + b"0," * 20_000 + b"0]"), None),
    "nothing": (b"", None),
    "null": (b"null", None),
    "a number alone": (b"5", None),
}


async def test_no_answer_stops_a_partition_or_leaves_a_visitor_that_cannot_be_read(store: RedisStore) -> None:  # noqa: F811
    """Each visitor's answer goes through acknowledgement, outcome, decision, store, and back out of it."""
    answers = list(ANSWERS.values())

    def told(path: str, body: dict[str, Any]) -> web.Response:
        at = int(body["visitor"].removeprefix("v"))
        return web.Response(body=answers[at][0] if path == "/find" else b"", content_type="application/json")

    async with run(store, told, chained) as world:
        visitors = [f"v{number}" for number in range(len(answers))]
        await world.until_idle(world.log.append(*(event(one, "visit") for one in visitors)))
        # Their next events are judged with what was learned.
        await world.until_idle(world.log.append(*(event(one, "order") for one in visitors)))
        for visitor, (name, (_, learned)) in zip(visitors, ANSWERS.items(), strict=True):
            known = await world.visitor(visitor)
            assert known is not None, name
            assert known.event_count == 2, name
            assert known.variables.get("subscriber") == learned, name
            assert known.traits.get("crmId") == learned, name
            assert json.loads(json.dumps(known.variables)) == known.variables
            # No try was repeated for what the answer held.
            assert world.receiver.paths(visitor).count("/find") == 1, name
    assert await store.dead_letters(3, limit=9) == []


@pytest.mark.parametrize("name", ["foo", "hex", "base64", "utf-7", "idna", "unicode_escape", "cp1140", "x" * 60_000])
def test_an_encoding_that_is_named_is_not_looked_for_or_remembered(name: str) -> None:
    """Python remembers every encoding it was ever asked for, also those there are not."""
    before = set(encodings._cache)
    body = f'<?xml version="1.0" encoding="{name}"?><a>1</a>'.encode()
    taken = take(Capture({"v": "a"}), body, "text/xml", is_whole=True)
    assert taken.variables["v"] in (None, "1")
    assert set(encodings._cache) == before


@pytest.mark.parametrize("name", ["UTF-8", "utf-16", "iso-8859-1", "US-ASCII"])
def test_what_xml_is_usually_written_in_is_read(name: str) -> None:
    written = "<a>Koln</a>" if name == "US-ASCII" else "<a>Köln</a>"
    body = f'<?xml version="1.0" encoding="{name}"?>{written}'.encode(name)
    assert take(Capture({"v": "a"}), body, "text/xml", is_whole=True).variables == {"v": written[3:-4]}


@pytest.mark.parametrize(
    "path", ["$.`parent`", "$.a.`parent`.`parent`", "$[0][0][0]", "$.*.*.*", "$[1:2:0]", "$.a where $.b"]
)
def test_no_path_makes_reading_an_answer_fail(path: str) -> None:
    for answered in (b"{}", b"[[1]]", b'{"a":{"b":1}}', b"5", b"null"):
        assert set(take(Capture({"v": path}), answered, "application/json", is_whole=True).variables) == {"v"}


async def test_p31_a_long_answer_is_searched_without_keeping_the_others_waiting() -> None:
    """64 KB of objects and many paths with '..' take seconds: in a thread of their own."""
    wide = answer(200, b"[" + b"{}," * 20_000 + b"{}]", Content_Type="application/json")
    owed = delivery(capture=Capture({f"v{number}": "$..a" for number in range(10)}))
    async with answering(wide) as server, answering(OK) as other, sender() as out:
        searched = asyncio.create_task(out.send(owed, to(server.url)))
        served = 0
        while not searched.done():
            await out.send(delivery(), to(other.url))
            served += 1
        assert searched.result().outcome == "delivered"
    # On the event loop it is one or two.
    assert served > 5


# --- P31: schemas and patterns

INWARD = "http://169.254.169.254/latest"
SCHEMAS: dict[str, dict[str, Any]] = {
    "a reference": {"type": "object", "properties": {"a": {"$ref": INWARD}}},
    "a reference below": {"type": "object", "allOf": [{"not": {"$ref": f"{INWARD}#/x"}}]},
    "a dynamic one": {"type": "object", "$dynamicRef": INWARD},
    "a reference in definitions": {"type": "object", "$defs": {"x": {"$ref": INWARD}}},
    "a dialect from elsewhere": {"$schema": INWARD, "type": "object", "properties": {}},
    "a reference to a file": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_p31_a_schema_that_refers_elsewhere_is_refused_without_a_packet(schema: dict[str, Any]) -> None:
    began = time.perf_counter()
    with packets() as seen:
        assert contract_problems(Contract(input=schema)) != []
        assert contract_problems(Contract(input={"type": "object"}, output=schema)) != []
    assert seen == []
    assert time.perf_counter() - began < QUICK_S


def test_p31_a_base_from_elsewhere_is_not_fetched() -> None:
    schema = {"$id": INWARD, "type": "object", "properties": {"a": {"type": "string", "$id": f"{INWARD}/x"}}}
    with packets() as seen:
        contract_problems(Contract(input=schema))
    assert seen == []


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)*x", "(a?){50}a{50}"])
def test_p31_no_pattern_takes_long_on_50_kb(pattern: str) -> None:
    matches = compile_comparison(Comparison.model_validate({"operator": "matches", "values": [pattern]}))
    text = "a" * 50_000 + "!"
    matches("warm")
    began = time.perf_counter()
    matches(text)
    assert time.perf_counter() - began < QUICK_S * 4


@pytest.mark.parametrize("path", ["$" + "(" * 199, "$" + "[" * 150, "$." * 99, "$" + "(" * 5000, "$..a..b..c"])
def test_p31_a_deep_path_is_refused_in_no_time(path: str) -> None:
    began = time.perf_counter()
    with pytest.raises(BadAnswerPath):
        compile_answer_path(path)
    assert time.perf_counter() - began < QUICK_S * 4


# --- token endpoints

TOKENS = {
    "drips": (dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), "none within 0.5 s"),
    "drips headers": (dripping(b"HTTP/1.1 200 OK\r\nX: "), "none within 0.5 s"),
    "floods with continue": (flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "none within 0.5 s"),
    "a length of 10^12": (flooding(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"), "more than 16 KB"),
    "a million headers": (flooding(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 10_000, 100), "no valid HTTP"),
    "a redirect": (flooding(answer(307, Location="http://127.0.0.2:1/"), b"", 0), "status 307"),
    "a deep one": (flooding(answer(200, b"[" * 10_000), b"", 0), "no JSON with an access_token"),
    "a token that is a header": (flooding(answer(200, rb'{"access_token":"a\r\nX-Evil: 1"}'), b"", 0), "fits into no"),
    "half a surrogate pair": (flooding(answer(200, rb'{"access_token":"a\ud800"}'), b"", 0), "no JSON"),
    "a token of 15 KB": (flooding(answer(200, b'{"access_token":"%s"}' % (b"a" * 15_000)), b"", 0), "fits into no"),
    "a bomb": (flooding(answer(200, b"\x1f\x8b" + bytes(100), Content_Encoding="gzip"), b"", 0), "no JSON"),
}


@pytest.mark.parametrize(("talk", "says"), TOKENS.values(), ids=TOKENS)
async def test_a_hostile_token_endpoint_costs_an_attempt_its_time_and_no_more(talk: Any, says: str) -> None:
    async with Server(talk) as tokens, answering(OK) as server, sender() as out:
        auth = {"type": "oauth2ClientCredentials", "tokenUrl": f"{tokens.url}/token", "clientId": "me",
                "clientSecret": "${ACTIONMAP_SECRET_A}"}  # fmt: skip
        async with growth() as grown:
            attempt = await out.send(delivery(timeout_s=0.5), to(server.url, auth=auth))
    assert (attempt.outcome, server.connections) == ("retry", 0)
    assert attempt.error.startswith("no access token: ")
    assert says in attempt.error
    assert attempt.duration_s < 2
    assert grown[0] < 5 * 2**20


@pytest.mark.parametrize(
    "expires_in", ["1e999999", '"1e999999"', "9" * 4000, '"' + "9" * 10_000 + '"', "-1", '"NaN"', "0", "[]"]
)
async def test_no_lifetime_of_a_token_does_harm(expires_in: str) -> None:
    given = answer(200, b'{"access_token":"a","expires_in":%s}' % expires_in.encode())
    async with answering(given) as tokens, answering(OK) as server, sender() as out:
        auth = {"type": "oauth2ClientCredentials", "tokenUrl": tokens.url, "clientId": "me",
                "clientSecret": "${ACTIONMAP_SECRET_A}"}  # fmt: skip
        for _ in range(2):
            attempt = await out.send(delivery(), to(server.url, auth=auth))
            assert attempt.outcome == "delivered" or "no JSON with an access_token" in attempt.error
