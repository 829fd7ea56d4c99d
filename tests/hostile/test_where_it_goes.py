"""P1 to P9: nothing goes where it may not, told by the packets that leave this process."""

import asyncio
from collections import Counter
from ipaddress import ip_network
from urllib.parse import urlsplit

import idna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_delivery_worker import Outbox, dead, integration, owe, working
from yarl import URL

from actionmap.app import egress_words
from actionmap.catalog.addresses import normal_host, parse_address, why_inward
from actionmap.catalog.lint import lint
from actionmap.deliver.egress import EgressBlocked, EgressGuard
from actionmap.settings import load_settings
from hostile.sending import delivery, sender, to
from hostile.server import OK, Names, Server, answer, answering, breaking_off, packets, silence
from support import T0, definitions, rules
from unit.test_egress import INWARD, PUBLIC

#: Those that a name server can answer: what each spells.
ADDRESSES = sorted({str(found) for host in INWARD if (found := parse_address(normal_host(host.replace("%25", "%"))))})
CANARY = "127.0.0.2"
VETTED = [ip_network("127.0.0.1/32")]


def canary() -> Server:
    """What no packet may come to."""
    return Server(silence, host=CANARY)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", INWARD)
def test_p1_an_inward_address_or_name_in_a_definition_is_an_error_that_names_the_rule(host, scheme):
    with packets() as seen:
        found = [one for one in lint(definitions(rules(f"{scheme}://{host}")), now=T0) if one.severity == "error"]
    assert len(found) == 1
    assert "Integration shop: baseUrl: " in str(found[0])
    assert seen == []


@pytest.mark.parametrize("host", INWARD)
async def test_p1_an_inward_literal_is_blocked_in_every_spelling_with_zero_packets(host):
    async with answering(OK) as server, sender(networks=()) as out:
        with packets() as seen:
            for scheme in ("http", "https"):
                attempt = await out.send(delivery(), to(f"{scheme}://{host}:{server.port}"))
                assert (attempt.outcome, attempt.is_blocked, attempt.status) == ("dead", True, None)
                assert attempt.error.startswith("blocked: ")
    assert (seen, server.connections) == ([], 0)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_p2_a_name_that_leads_inward_is_blocked_with_zero_packets(address):
    async with answering(OK) as server, sender(networks=(), lookup=Names([address])) as out:
        with packets() as seen:
            attempt = await out.send(delivery(), to(f"https://innocent.example:{server.port}"))
    assert (attempt.outcome, attempt.is_blocked) == ("dead", True)
    assert attempt.error.startswith("blocked: innocent.example resolves to")
    assert (seen, server.connections) == ([], 0)


async def test_p2_what_is_blocked_is_dead_with_its_reason_after_one_try_and_none_is_made_again():
    outbox = Outbox()
    await owe(outbox, [delivery(id="a", owed_at=T0), delivery(id="b", integration="named", owed_at=T0)])
    table = [integration("crm", baseUrl="https://169.254.169.254"), integration("named", baseUrl="https://in.example")]
    with packets() as seen:
        async with (
            sender(networks=(), lookup=Names(["10.0.0.1"])) as out,
            working(outbox, out, table, clock=lambda: T0) as worker,
        ):
            await outbox.until_empty()
            letters = await dead(outbox)
    assert {name: (letter.reason, letter.delivery.attempts) for name, letter in letters.items()} == {
        "a": ("refused", 1), "b": ("refused", 1),
    }  # fmt: skip
    assert "169.254.169.254 is link-local (cloud metadata)" in letters["a"].detail
    assert worker.counted.attempts.labels("crm", "retry")._value.get() == 0
    assert (seen, outbox.calls["nack"]) == ([], 0)


@pytest.mark.parametrize("addresses", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "::7f00:1"]])
async def test_p3_one_bad_answer_among_good_ones_blocks_all(addresses):
    async with answering(OK) as server, sender(networks=(), lookup=Names(addresses)) as out:
        with packets() as seen:
            attempt = await out.send(delivery(), to(f"https://mixed.example:{server.port}"))
    assert (attempt.outcome, attempt.is_blocked, seen) == ("dead", True, [])


async def test_p4_a_name_is_looked_up_once_a_connection_and_the_vetted_address_is_dialled():
    names = Names(["127.0.0.1"], [CANARY])
    async with answering(OK) as server, canary() as bait, sender(networks=VETTED, lookup=names) as out:
        with packets() as seen:
            attempt = await out.send(delivery(), to(f"http://rebinding.example:{server.port}"))
    assert attempt.outcome == "delivered"
    assert (names.asked, seen) == (["rebinding.example"], [("socket.connect", ("127.0.0.1", server.port))])
    assert bait.connections == 0


async def test_p5_a_kept_connection_goes_on_to_the_vetted_address_and_each_new_one_is_vetted_again():
    names = Names(["127.0.0.1"], [CANARY])
    closing = answer(200, Connection="close")
    async with answering(OK, closing) as server, canary() as bait, sender(networks=VETTED, lookup=names) as out:
        where = to(f"http://rebinding.example:{server.port}")
        for _ in range(2):
            assert (await out.send(delivery(), where)).outcome == "delivered"
        assert (len(names.asked), server.connections) == (1, 1)
        with packets() as seen:
            blocked = await out.send(delivery(), where)
    assert (blocked.outcome, blocked.is_blocked, len(names.asked)) == ("dead", True, 2)
    assert (seen, bait.connections) == ([], 0)


async def test_p5_the_connection_that_replaces_a_dead_one_at_once_is_vetted_again():
    async def once(server, reader, writer):
        await server.read_request(reader)
        writer.write(OK)
        await breaking_off(b"")(server, reader, writer)

    async with Server(once) as server, canary() as bait, sender(
        networks=VETTED, lookup=Names(["127.0.0.1"], [CANARY])
    ) as out:  # fmt: skip
        where = to(f"http://rebinding.example:{server.port}")
        assert (await out.send(delivery(), where)).outcome == "delivered"
        attempt = await out.send(delivery(), where)
    assert (attempt.outcome, attempt.is_blocked, len(server.requests), bait.connections) == ("dead", True, 2, 0)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
async def test_p6_a_redirect_inward_is_not_followed_and_where_it_leads_is_told_without_its_path(status):
    async with canary() as bait, answering(b"") as server, sender() as out:
        server.answers = [answer(status, Location=f"{bait.url}/latest/meta-data?k=1")]
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.status, bait.connections) == ("dead", status, 0)
    assert f"(to http://{CANARY})" in attempt.error
    assert "meta-data" not in attempt.error


@pytest.mark.parametrize("location", ["http://[::", "\xff\xfe", "/relative", "x" * 5000, "", "file:///etc/passwd"])
async def test_p6_a_location_that_is_none_does_no_harm(location):
    async with answering(answer(302, Location=location)) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert attempt.outcome == "dead"
    assert len(attempt.error) < 200


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_p7_proxies_and_passwords_of_the_environment_are_not_used(scheme, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password from-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with answering(OK) as server, canary() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with sender() as out:
            attempt = await out.send(delivery(timeout_s=1), to(f"{scheme}://127.0.0.1:{server.port}"))
    assert attempt.outcome == ("delivered" if scheme == "http" else "retry")
    assert (proxy.connections, server.connections) == (0, 1)
    assert not any(b"authorization" in request.lower() for request in server.requests)


@pytest.mark.parametrize("scheme", ["file", "gopher", "ftp", "unix", "ws", "http+unix", "javascript", "data"])
def test_p8_no_scheme_but_https_and_where_allowed_http_is_dialled(scheme):
    for guard in (EgressGuard(), EgressGuard({"good.example"}, VETTED)):
        for url in (f"{scheme}://good.example/x", f"{scheme}:///etc/passwd", f"{scheme}:x"):
            with pytest.raises(EgressBlocked):
                guard.vet(url)


async def test_p8_a_port_that_speaks_another_protocol_hears_nothing_but_a_tls_hello():
    """Ports are not restricted: only https leaves for public addresses, and nobody chooses what its hello holds."""
    heard = asyncio.Queue()

    async def redis(_server, reader, writer):
        heard.put_nowait(await reader.read(65536))
        writer.write(b"-ERR unknown command\r\n")

    async with Server(redis) as server, sender() as out:
        owed = delivery(body="*1\r\n$8\r\nFLUSHALL\r\n", target="/\u010d\u010aFLUSHALL")
        attempt = await out.send(owed, to(f"https://127.0.0.1:{server.port}"))
    said = heard.get_nowait()
    assert (attempt.outcome, said[:2]) == ("retry", b"\x16\x03")
    assert b"FLUSHALL" not in said


ODD = [
    "https://good.example@127.0.0.1/", "https://good.example:x@127.0.0.1/", "https://127.0.0.1#@good.example/",
    "https://127.0.0.1\\@good.example/", "https://good.example\\@127.0.0.1/", "https://good.example\t.localhost/",
    "https://good.example\n@127.0.0.1/", "https:///127.0.0.1/", "https:127.0.0.1/", "https://127.0.0.1%2f@good.example/",
    "https://127%2e0%2e0%2e1/", "https://%6cocalhost/", "https://ⓛocalhost/", "https://loc\u00adalhost/",
    "https://127\u30020\u30020\u30021/", "https://[::ffff:127.0.0.1%25x]/", "https://good.example:443:80/",
    "https://good.example;127.0.0.1/", "https://good.example?@127.0.0.1/", "https://good.example/@127.0.0.1/",
    "https://gооd.example/", "https://xn--god-tqa.example/", "https://faß.example/", "https://good.example./",
    "https://good.example:8443/", "HTTPS://GOOD.EXAMPLE/", "https://good.example:0443/", "https://good.example:+443/",
    "https://0/", "https://good.example,127.0.0.1/", "https://good.example%00.localhost/", "https://a.example#/..@0/",
]  # fmt: skip


@pytest.mark.parametrize("url", ODD)
async def test_p9_what_a_confusing_url_is_judged_by_is_what_is_dialled(url):
    names = Names(["8.8.8.8", "10.0.0.1"])
    async with sender(networks=(), lookup=names) as out:
        with packets() as seen:
            attempt = await out.send(delivery(target=""), to("https://x.example").model_copy(update={"base_url": url}))
    assert (attempt.outcome, seen) == ("dead", [])
    for asked in names.asked:
        assert idna.decode(normal_host(asked)) == idna.decode(normal_host(urlsplit(url).hostname or ""))


HOSTS = st.one_of(
    st.sampled_from([*INWARD, *PUBLIC, "good.example", "xn--god-tqa.example"]),
    st.text(st.sampled_from("0123456789abcdefx.:[]%@#?/\\①。ⓛ \t-_"), max_size=16),
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(st.sampled_from(["https://", "https:/", "https:", "//", "https://a@", "HTTPS://"]), HOSTS, st.sampled_from(
    ["", "/", "/x", ":443/", "@good.example/", "#x", "?x", "\\@good.example"]
))  # fmt: skip
def test_p9_no_url_that_is_let_through_names_an_inward_host_to_the_parser_that_dials(scheme, host, rest):
    url = f"{scheme}{host}{rest}"
    try:
        EgressGuard().vet(url)
    except EgressBlocked:
        return
    dialled = URL(url)
    assert dialled.scheme == "https"
    assert dialled.user is None
    address = parse_address(normal_host(dialled.raw_host))
    assert address is None or why_inward(address) is None
    assert not normal_host(dialled.raw_host).endswith(("localhost", ".internal", ".local"))


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        ("", "https to public addresses alone; ACTIONMAP_EGRESS_ALLOW is empty"),
        (
            "10.0.0.0/8 CRM.internal",
            "https to public addresses; ACTIONMAP_EGRESS_ALLOW allows crm.internal, 10.0.0.0/8 as well, also over http",
        ),
    ],
)
def test_what_is_allowed_beyond_public_addresses_is_said_in_words(allow, words):
    assert egress_words(load_settings(egress_allow=allow)) == words


async def test_the_packets_that_are_asserted_not_to_be_there_are_seen_when_they_are():
    async with answering(OK) as server, sender() as out:
        with packets() as seen:
            await out.send(delivery(), to(server.url))
            await out.send(delivery(), to("http://localhost:1"))
    assert Counter(what for what, _ in seen)["socket.getaddrinfo"] == 1
    assert ("socket.connect", ("127.0.0.1", server.port)) in seen
