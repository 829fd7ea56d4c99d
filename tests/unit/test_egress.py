"""What may be dialled: the address list of the security review, in every spelling and disguise."""

import asyncio
import socket
import threading
from ipaddress import ip_address, ip_network

import pytest

from actionmap.catalog.addresses import normal_host, parse_address, static_findings, why_inward
from actionmap.deliver.egress import EgressBlocked, EgressGuard, GuardedResolver, SystemLookup

INWARD = [
    "127.0.0.1",
    "127.1",
    "0",
    "0.0.0.0",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "①②⑦.0.0.1",
    "localhost",
    "localhost.",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.0.192",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::7f00:1]",
    "[::ffff:0:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::1]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[5f00::1]",
    "[100::1]",
    "[3fff::1]",
    "[2001:db8::1]",
    "metadata.google.internal",
    "127。0。0。1",
    "0x7f.1",
    "017700000001",
    "[::ffff:7f00:1]",
    "[fe80::1%25eth0]",
    "168.63.129.16",
    "LOCALHOST",
    "app.localhost",
    "printer.local",
    "db.internal",
    "metadata",
    "[2606:4700::5efe:10.0.0.1]",
    "127%2e0.0.1",
    "1.2.3.4.5",
    "0x7f.1.1.1.1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "[2001:4860:4860::8888]", "[64:ff9b::808:808]", "[::ffff:8.8.8.8]", "[2606:4700::1111]"]
NAMES = ["crm.example.com", "crm.example.com.", "xn--exmple-cua.com", "exämple.com", "a_b.example", "local.example"]
LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", INWARD)
def test_inward_targets_are_refused_from_their_text_alone(host, scheme):
    assert static_findings(f"{scheme}://{host}/x", (), ()) is not None
    with pytest.raises(EgressBlocked):
        EgressGuard().vet(f"{scheme}://{host}:8443/x")


@pytest.mark.parametrize("host", PUBLIC + NAMES)
def test_public_targets_are_allowed_over_https_and_refused_over_http(host):
    assert static_findings(f"https://{host}/x", (), ()) is None
    EgressGuard().vet(f"https://{host}:8443/x")
    assert "http" in static_findings(f"http://{host}/x", (), ())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "file:///etc/passwd",
        "gopher://a.example",
        "unix:/x",
        "//a.example",
        "",
        "https://",
        "https:///x",
        "https://good.example@127.0.0.1/",
        "https://u:p@good.example/",
        "https://127.0.0.1\\@good.example/",
        "https://good.example\t/",
        "https://good.\nexample/",
        "https://a b/",
        "https://[::1",
        "https://a.example:99999/",
        "https://127.0.0.1#@good.example/",
        "https://a..b/",
        "https://" + "a" * 300 + ".example/",
    ],
)
def test_what_is_no_plain_url_is_refused(url):
    assert static_findings(url, (), ()) is not None


@pytest.mark.parametrize("host", [host for host in INWARD if host[0] in "0123456789["])
def test_a_name_that_resolves_inward_is_blocked(host):
    address = str(parse_address(normal_host(host.replace("%25", "%"))) or "127.0.0.1")
    with pytest.raises(EgressBlocked, match="ACTIONMAP_EGRESS_ALLOW"):
        EgressGuard().vet_addresses("innocent.example", [address], plain_http=False)


def test_one_bad_answer_refuses_all():
    with pytest.raises(EgressBlocked, match=r"innocent\.example resolves to 10\.0\.0\.1"):
        EgressGuard().vet_addresses("innocent.example", ["8.8.8.8", "10.0.0.1"], plain_http=False)


def test_an_allowed_network_is_reached_over_http_too_but_only_that():
    guard = EgressGuard((), LOOPBACK)
    for url in ("http://127.0.0.1:80/", "https://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"):
        guard.vet(url)
    guard.vet("http://localhost:9000/")
    for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://8.8.8.8/", "http://metadata.google.internal/"):
        with pytest.raises(EgressBlocked):
            guard.vet(url)


def test_an_allowed_but_oddly_spelled_address_has_to_be_written_plainly():
    assert "write 127.0.0.1" in static_findings("http://127.1/", (), LOOPBACK)


def test_an_allowed_name_may_resolve_anywhere():
    guard = EgressGuard({"CRM.internal."}, ())
    guard.vet("http://crm.internal/")
    assert guard.vet_addresses("crm.internal", ["10.0.0.1"], plain_http=True) == [ip_address("10.0.0.1")]
    with pytest.raises(EgressBlocked):
        guard.vet("http://other.internal/")


def test_a_single_address_is_allowed_like_a_network_of_one():
    guard = EgressGuard({"10.0.0.1", "::1"}, ())
    guard.vet("http://10.0.0.1/")
    guard.vet("http://[::1]/")
    assert guard.vet_addresses("crm.example", ["10.0.0.1"], plain_http=True)
    with pytest.raises(EgressBlocked):
        guard.vet("http://10.0.0.2/")


def test_a_name_over_http_is_decided_by_its_address_when_networks_are_allowed():
    guard = EgressGuard((), [ip_network("10.0.0.0/8")])
    guard.vet("http://crm.example/")
    assert guard.vet_addresses("crm.example", ["10.0.0.1"], plain_http=True)
    with pytest.raises(EgressBlocked, match="plain http"):
        guard.vet_addresses("crm.example", ["8.8.8.8"], plain_http=True)
    with pytest.raises(EgressBlocked):
        guard.vet("http://localhost/")


def test_an_allowed_network_does_not_open_its_disguises_that_end_elsewhere():
    guard = EgressGuard((), LOOPBACK)
    for address in ("2002:7f00:1::1", "::7f00:1", "64:ff9b:1::7f00:1", "2001:0:7f00:1::"):
        with pytest.raises(EgressBlocked):
            guard.vet_addresses("x.example", [address], plain_http=False)


@pytest.mark.parametrize(
    "text", ["127.1", "0", "0x7f000001", "2130706433", "0177.0.0.1", "0x7f.1", "10.257", "1.2.772"]
)
def test_odd_spellings_are_read_as_the_system_reads_them(text):
    assert parse_address(text) == ip_address(socket.inet_ntoa(socket.inet_aton(text)))


@pytest.mark.parametrize(
    "text", ["256.1.1.1", "1.2.3.4.5", "09.1.1.1", "4294967296", "1..2", "0x", "a.b", "", "1.2.3.256"]
)
def test_what_spells_no_address_is_none(text):
    assert parse_address(text) is None


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_break_no_rule(host):
    assert why_inward(ip_address(host.strip("[]"))) is None


async def test_the_resolver_asks_once_and_hands_out_vetted_addresses_only():
    asked = []

    async def lookup(host):
        asked.append(host)
        return ["8.8.8.8", "2001:4860:4860::8888"] if len(asked) == 1 else ["127.0.0.1"]

    resolver = GuardedResolver(EgressGuard(), lookup, plain_http=False)
    answers = await resolver.resolve("rebinding.example", 443)
    assert [(answer["host"], answer["family"], answer["port"]) for answer in answers] == [
        ("8.8.8.8", socket.AF_INET, 443),
        ("2001:4860:4860::8888", socket.AF_INET6, 443),
    ]
    assert asked == ["rebinding.example"]
    with pytest.raises(EgressBlocked):
        await resolver.resolve("rebinding.example", 443)


async def test_a_name_without_an_address_is_a_failure_of_the_network():
    async def lookup(_host):
        return []

    with pytest.raises(OSError, match="no address"):
        await GuardedResolver(EgressGuard(), lookup, plain_http=False).resolve("x.example", 443)


async def test_the_system_lookup_gives_plain_addresses_and_refuses_impossible_names():
    lookup = SystemLookup(threads=1)
    try:
        assert "127.0.0.1" in await lookup("127.0.0.1")
        with pytest.raises(OSError):
            await lookup("a" * 70 + ".example")
    finally:
        lookup.close()


async def test_lookups_of_one_name_that_overlap_share_one_question(monkeypatch):
    asked, may_answer = [], threading.Event()

    def getaddrinfo(host, *_, **__):
        asked.append(host)
        may_answer.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    lookup = SystemLookup()
    try:
        waiting = [asyncio.create_task(lookup("crm.example")) for _ in range(5)]
        await asyncio.sleep(0)
        # One attempt runs out of time: the others still get their answer.
        waiting.pop().cancel()
        await asyncio.sleep(0)
        may_answer.set()
        assert await asyncio.gather(*waiting) == [["8.8.8.8"]] * 4
        assert asked == ["crm.example"]
        await lookup("crm.example")
        assert len(asked) == 2
    finally:
        lookup.close()


def test_a_url_that_passed_does_not_vouch_for_another_that_begins_alike():
    guard = EgressGuard()
    guard.vet("https://good.example/x")
    guard.vet("https://good.example/y?z=1")
    for url in (
        "https://good.example@127.0.0.1/",
        "https://good.example:x@127.0.0.1/",
        "https://good.example\\@127.0.0.1/",
        "https://good.example\t.localhost/",
        "https://good.example.localhost/",
        "http://good.example/x",
    ):
        with pytest.raises(EgressBlocked):
            guard.vet(url)
