"""What an event tells beyond its fields: browser and device, marketing campaign, and where the visitor came from.

All functions are memoised: the same user agents, landing pages and referrers come again and again.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import ua_parser

from actionmap.event import memoised, split_url
from actionmap.visitor import Browser, Device, MktCampaign, Referrer

_UTM = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}
#: Click id parameter → advertising network, in order of precedence (semantics §9.8).
_CLICK_IDS = {"gclid": "google", "dclid": "google", "msclkid": "microsoft", "fbclid": "facebook", "ttclid": "tiktok"}
_PAID = frozenset({"cpc", "ppc", "cpm", "cpv", "cpa", "paid", "paidsearch", "paid-search", "paid_search", "paidsocial",
                   "paid-social", "paid_social", "display", "banner", "retargeting"})  # fmt: skip
_SEARCH = frozenset({"google", "bing", "duckduckgo", "yahoo", "baidu", "yandex", "ecosia", "qwant", "startpage", "ask",
                     "naver", "seznam", "sogou"})  # fmt: skip
_SOCIAL = frozenset({"facebook", "instagram", "twitter", "linkedin", "lnkd", "pinterest", "reddit", "tiktok",
                     "youtube", "xing", "threads", "mastodon", "bsky", "snapchat", "tumblr", "vk", "quora",
                     "whatsapp", "telegram"})  # fmt: skip
_SOCIAL_HOSTS = frozenset({"t.co", "x.com", "twitter.com", "fb.me", "lnkd.in", "youtu.be", "t.me", "wa.me", "vk.com"})
_MAIL_LABELS = frozenset({"mail", "email", "webmail", "outlook", "inbox"})
_TABLETS = ("ipad", "tablet", "kindle", "silk", "playbook", "nexus 7", "nexus 9", "nexus 10", "sm-t", "galaxy tab")
_DESKTOP_SYSTEMS = ("windows", "mac os x", "linux", "chrome os", "ubuntu", "fedora", "debian", "freebsd", "openbsd")
_MOBILE_SYSTEMS = ("ios", "android", "windows phone", "blackberry os", "kaios", "harmonyos", "symbian os")


@memoised
def browser_and_device(user_agent: str) -> tuple[Browser, Device]:
    """Browser (without its language) and device of a User-Agent header; what it does not tell is None."""
    found = ua_parser.parse(user_agent[:1000])
    agent, system, device = found.user_agent, found.os, found.device
    numbers = (agent.major, agent.minor, agent.patch) if agent else ()
    version = ".".join(number for number in numbers if number) or None
    os_family = system.family if system else None
    return (
        Browser(family=agent.family if agent else None, version=version),
        Device(
            category=_category(user_agent.lower(), os_family, device.family if device else None),
            type=device.family if device else None,
            os_family=os_family,
        ),
    )


def _category(user_agent: str, os_family: str | None, family: str | None) -> str:
    system = (os_family or "").lower()
    if family == "Spider":
        return "other"
    if any(word in user_agent for word in _TABLETS) or (system == "android" and "mobile" not in user_agent):
        return "tablet"
    if system in _MOBILE_SYSTEMS or "mobile" in user_agent:
        return "mobile"
    return "desktop" if system.startswith(_DESKTOP_SYSTEMS) else "other"


@memoised
def campaign_of(url: str) -> MktCampaign | None:
    """The campaign that the UTM parameters and click ids of ``url`` name; None when they name none."""
    query = split_url(url).query_string
    if query is None:
        return None
    params = {name.lower(): value for name, value in reversed(parse_qsl(query, max_num_fields=None)) if value}
    fields = {field: params[name] for name, field in _UTM.items() if name in params}
    for name, network in _CLICK_IDS.items():
        if name in params:
            fields |= {"click_id": params[name], "network": network}
            break
    return MktCampaign(**fields) if fields else None


@memoised
def referrer_of(url: str, page_domain: str | None, campaign: MktCampaign | None) -> Referrer | None:
    """Where ``url`` says the visitor came from; None for an empty one.

    Args:
        url: The referrer's URL.
        page_domain: Domain of the page the visitor arrived at; the same domain is ``internal``.
        campaign: The campaign the visitor came with; one with a click id or a paid medium is ``paid``.
    """
    if not url.strip():
        return None
    parts = split_url(url)
    medium = _medium(parts.hostname, parts.domain, page_domain, campaign)
    return Referrer(url=url, hostname=parts.hostname, domain=parts.domain, medium=medium)


def _medium(hostname: str | None, domain: str | None, page_domain: str | None, campaign: MktCampaign | None) -> str:
    if domain is not None and domain == page_domain:
        return "internal"
    if campaign is not None and (campaign.click_id or (campaign.medium or "").lower() in _PAID):
        return "paid"
    if hostname is None:
        return "unknown"
    labels = hostname.split(".")
    if any(label in _MAIL_LABELS for label in labels[:-1]) or (campaign and (campaign.medium or "").lower() == "email"):
        return "email"
    if domain in _SOCIAL_HOSTS or _registered(labels) in _SOCIAL:
        return "social"
    return "search" if _registered(labels) in _SEARCH else "unknown"


def _registered(labels: list[str]) -> str:
    """The label that a name was registered under: ``google`` of ``www.google.co.uk``."""
    if len(labels) >= 3 and labels[-2] in ("co", "com", "org", "net", "ac"):
        return labels[-3]
    return labels[-2] if len(labels) >= 2 else labels[-1]
