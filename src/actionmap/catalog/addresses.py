"""Which addresses and names lie inside a network, told from their text alone: no DNS is asked here.

`lint` uses it on definitions, the egress guard of `deliver/` on what it is about to dial. Only public addresses are
reached, unless ``ACTIONMAP_EGRESS_ALLOW`` names them. ``ipaddress.is_global`` is no such test: it is true for loopback
written as ``64:ff9b::7f00:1``, ``2002:7f00:1::1`` or ``::7f00:1``, and for multicast.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from actionmap.catalog.places import without_places

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: What an operator does about a refusal; every message ends with it.
REMEDY = "add it to ACTIONMAP_EGRESS_ALLOW to allow it"

_INWARD_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a shared (carrier) address"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "the host service of a cloud"),  # Azure's wire server: looks public, is not
        ("169.254.0.0/16", "link-local (cloud metadata)"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "an address for protocols"),
        ("192.0.2.0/24", "an address for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "an address for benchmarks"),
        ("198.51.100.0/24", "an address for documentation"),
        ("203.0.113.0/24", "an address for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
_INWARD_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), rule)
    for network, rule in (
        ("::1/128", "loopback"),
        ("::/96", "an IPv4 address in disguise"),
        ("::ffff:0:0:0/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a discarded address"),
        ("2001::/32", "a Teredo address (IPv4 in disguise)"),
        ("2001::/23", "an address for protocols"),
        ("2001:db8::/32", "an address for documentation"),
        ("2002::/16", "a 6to4 address (IPv4 in disguise)"),
        ("3fff::/20", "an address for documentation"),
        ("5f00::/16", "a segment-routing address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "multicast"),
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
#: The middle of an ISATAP interface id: what follows is an IPv4 address.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_INWARD_NAMES = (".localhost", ".local", ".internal")
_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
_NUMBER = re.compile(r"(0x[0-9a-f]+|\d+)", re.ASCII)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What ``ACTIONMAP_EGRESS_ALLOW`` allows: names in lower case without a final dot, and networks."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, hosts: Collection[str], networks: Sequence[Network]) -> Allowed:
        """Sort ``hosts`` (names and single addresses, as an operator writes them) and ``networks``."""
        names, singles = set(), []
        for host in hosts:
            plain = normal_host(host)
            address = parse_address(plain)
            if address is None:
                names.add(plain)
            else:
                singles.append(ip_network(address))
        return cls(frozenset(names), (*networks, *singles))

    def covers(self, address: Address) -> bool:
        """Whether ``address``, or the IPv4 address it is dialled as, lies in one of the networks."""
        dialled = _dialled(address)
        return any(one in network for network in self.networks for one in {address, dialled})


def _dialled(address: Address) -> Address:
    """The IPv4 address that a mapped (``::ffff:…``) or NAT64 (``64:ff9b::…``) address ends at; else ``address``."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def why_inward(address: Address) -> str | None:
    """Which rule says that ``address`` is not public, in words; None when it is public.

    A NAT64 address (``64:ff9b::/96``) is judged as the IPv4 address behind it, so public ones pass: on a network that
    has IPv6 alone, every IPv4 receiver looks like that.
    """
    address = _dialled(address)
    if isinstance(address, IPv4Address):
        return next((rule for network, rule in _INWARD_V4 if address in network), None)
    rule = next((rule for network, rule in _INWARD_V6 if address in network), None)
    if rule is None and address not in _PUBLIC_V6:
        rule = "not a public address"
    if rule is None and (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        rule = why_inward(IPv4Address(int(address) & 0xFFFF_FFFF)) and "an ISATAP address (IPv4 in disguise)"
    return rule


def refusal(address: Address, allowed: Allowed, *, plain_http: bool) -> str | None:
    """Why ``address`` may not be dialled, in words for people; None when it may.

    Args:
        address: What would be dialled.
        allowed: What the operator allows.
        plain_http: The scheme is http, which only allowed addresses may be sent.
    """
    if allowed.covers(address):
        return None
    rule = why_inward(address)
    if rule is not None:
        return f"{address} is {rule}, and only public addresses are reached; {REMEDY}"
    if plain_http:
        return f"plain http to {address}: use https, or {REMEDY}"
    return None


def parse_address(host: str) -> Address | None:
    """The address that ``host`` (already `normal_host`) spells, in any spelling a resolver takes; None for a name.

    Besides the usual forms, an IPv4 address may have one to four parts, each decimal, octal (``0177``) or hexadecimal
    (``0x7f``), the last of which fills what is left: ``127.1``, ``2130706433``, ``0x7f000001``.
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) and len(part) <= 20 for part in parts):
        return None
    try:
        *first, last = [_number(part) for part in parts]
    except ValueError:
        return None
    room = 4 - len(first)
    if any(part > 255 for part in first) or last >= 256**room:
        return None
    return IPv4Address(sum(part << (24 - 8 * place) for place, part in enumerate(first)) + last)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part, 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)


def normal_host(host: str) -> str:
    """``host`` as resolvers read it: full-width digits made plain, lower case, no final dot, no brackets."""
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower()
    return plain.removeprefix("[").removesuffix("]").removesuffix(".")


def static_findings(url: str, allow_hosts: Collection[str], allow_networks: Sequence[Network]) -> str | None:
    """What is wrong with ``url`` as a place to send requests to, told without asking DNS; None when nothing is.

    Refused are inward addresses in any spelling, inward names (``localhost``, ``*.localhost``, ``*.local``,
    ``*.internal``, ``metadata.*``) and plain http, unless allowed. Where networks are allowed, a name may lead there,
    which only its address can tell when a request is sent: then no name but ``metadata.*`` is refused here.

    Args:
        url: The whole URL, or an integration's base URL, with any value in its places.
        allow_hosts: Names and single addresses that are allowed.
        allow_networks: Networks that are allowed.
    """
    return examine(without_places(url), Allowed.of(allow_hosts, allow_networks))


def examine(url: str, allowed: Allowed) -> str | None:
    """`static_findings` with what is allowed already sorted."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"it is no URL: {error}"
    if parts.scheme not in ("http", "https"):
        return f"the scheme {parts.scheme or 'none'!r}: only https is used, and http where it is allowed"
    if not host or any(character <= " " or character in "\\\x7f" for character in url):
        return "it is no URL: it has no host, or spaces, backslashes or control characters"
    if "@" in parts.netloc:
        return "user and password do not belong in a URL; use auth"
    return _examine_host(normal_host(host), parts.scheme == "http", allowed)


def _examine_host(host: str, plain_http: bool, allowed: Allowed) -> str | None:
    address = parse_address(host)
    if address is not None:
        found = refusal(address, allowed, plain_http=plain_http)
        if found is None and isinstance(address, IPv4Address) and host != str(address):
            return f"an oddly spelled address; write {address}"
        return found
    if host in allowed.names:
        return None
    if not _is_name(host):
        return f"{host!r} is no host name"
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return f"{host!r} is neither a name nor an address"
    return _examine_name(host, plain_http, allowed)


def _is_name(host: str) -> bool:
    """Whether ``host`` is a name that needs no decoding: a percent sign in it could hide ``127.0.0.1``."""
    try:
        return len(host) <= 253 and _NAME.fullmatch(host.encode("idna").decode()) is not None
    except UnicodeError:
        return False


def _examine_name(host: str, plain_http: bool, allowed: Allowed) -> str | None:
    inward = f"the name {host} points inside a network, and only public addresses are reached; {REMEDY}"
    if host.partition(".")[0] == "metadata":
        return inward
    if host == "localhost" or host.endswith(".localhost"):
        return None if any(allowed.covers(address) for address in _LOOPBACK) else inward
    if allowed.networks:
        return None
    if host.endswith(_INWARD_NAMES):
        return inward
    return f"plain http to {host}: use https, or {REMEDY}" if plain_http else None
