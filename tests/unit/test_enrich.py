"""What a URL and a User-Agent header tell: campaign, referrer, browser, device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import after, event, page, rulebook

from actionmap.decide.enrich import browser_and_device, campaign_of, referrer_of
from actionmap.event import _split_any_url, split_url
from actionmap.visitor import MktCampaign

SHOP = "https://shop.example/landing"

# --- campaigns


def test_utm_parameters_are_the_campaign():
    url = f"{SHOP}?utm_source=s&utm_medium=m&utm_campaign=n&utm_term=t&utm_content=c&other=x#frag"
    assert campaign_of(url) == MktCampaign(source="s", medium="m", name="n", term="t", content="c")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("summer%20sale", "summer sale"),
        ("summer+sale", "summer sale"),
        ("caf%C3%A9", "café"),
        ("%F0%9F%98%80", "😀"),
        ("a%26b%3Dc", "a&b=c"),
        ("100%25", "100%"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%ff", "\ufffd"),
    ],
)
def test_utm_values_are_decoded(written, read):
    assert campaign_of(f"{SHOP}?utm_campaign={written}").name == read


def test_the_first_of_a_repeated_parameter_counts_and_an_empty_one_does_not():
    assert campaign_of(f"{SHOP}?utm_source=&utm_source=a&utm_source=b").source == "a"
    assert campaign_of(f"{SHOP}?utm_source=") is None


@pytest.mark.parametrize("name", ["UTM_Source", "utm_source", "utm%5Fsource", "UTM_SOURCE"])
def test_names_of_parameters_are_read_in_any_spelling(name):
    assert campaign_of(f"{SHOP}?{name}=a").source == "a"


@pytest.mark.parametrize("url", [SHOP, f"{SHOP}?a=b", f"{SHOP}#utm_source=a", "", "https://[::1", f"{SHOP}?utm_id=1"])
def test_a_url_without_a_campaign_has_none(url):
    assert campaign_of(url) is None


@pytest.mark.parametrize(
    ("parameter", "network"),
    [("gclid", "google"), ("dclid", "google"), ("msclkid", "microsoft"), ("fbclid", "facebook"), ("ttclid", "tiktok")],
)
def test_a_click_id_names_its_network(parameter, network):
    assert campaign_of(f"{SHOP}?{parameter}=X1") == MktCampaign(click_id="X1", network=network)


def test_of_several_click_ids_the_first_in_order_of_precedence_counts():
    order = ["gclid", "dclid", "msclkid", "fbclid", "ttclid"]
    for number, first in enumerate(order):
        query = "&".join(f"{name}={name}" for name in reversed(order[number:]))
        assert campaign_of(f"{SHOP}?{query}").click_id == first


@given(st.text(max_size=60))
def test_no_url_breaks_anything(text):
    for url in (text, f"{SHOP}?{text}", f"https://{text}", f"{SHOP}?utm_source={text}"):
        campaign = campaign_of(url)
        parts = split_url(url)
        referrer_of(url, parts.domain, campaign)


# --- referrers


@pytest.mark.parametrize(
    ("url", "medium"),
    [
        ("https://shop.example/other", "internal"),
        ("https://www.shop.example/other", "internal"),
        ("https://www.google.com/", "search"),
        ("https://www.google.co.uk/search?q=a", "search"),
        ("https://google.com.br/", "search"),
        ("https://duckduckgo.com/", "search"),
        ("https://www.bing.com/search?q=a", "search"),
        ("https://m.facebook.com/", "social"),
        ("https://l.instagram.com/?u=x", "social"),
        ("https://t.co/abc", "social"),
        ("https://x.com/somebody", "social"),
        ("https://www.linkedin.com/feed", "social"),
        ("https://mail.google.com/mail/u/0", "email"),
        ("https://outlook.live.com/", "email"),
        ("https://news.example/article", "unknown"),
        ("https://notgoogle.com/", "unknown"),
        ("https://google.evil.example/", "unknown"),
        ("https://shop.example.evil.example/", "unknown"),
        ("android-app://com.example.app/", "unknown"),
        ("no url", "unknown"),
        ("https://[::1", "unknown"),
    ],
)
def test_a_referrer_has_a_medium(url, medium):
    assert referrer_of(url, "shop.example", None).medium == medium


@pytest.mark.parametrize(
    "campaign", [MktCampaign(medium="CPC"), MktCampaign(click_id="x"), MktCampaign(medium="display")]
)
def test_a_paid_campaign_makes_its_referrer_paid(campaign):
    assert referrer_of("https://www.google.com/", "shop.example", campaign).medium == "paid"
    assert referrer_of("https://shop.example/", "shop.example", campaign).medium == "internal"


def test_a_mailing_makes_its_referrer_email():
    assert referrer_of("https://news.example/", "shop.example", MktCampaign(medium="Email")).medium == "email"


def test_a_blank_referrer_is_none():
    assert referrer_of("  ", "shop.example", None) is None


def test_a_referrer_is_split_into_its_parts():
    referrer = referrer_of("https://www.news.example/a?b#c", "shop.example", None)
    assert (referrer.url, referrer.hostname, referrer.domain) == (
        "https://www.news.example/a?b#c",
        "www.news.example",
        "news.example",
    )


def test_a_referrer_is_judged_by_the_page_and_the_campaign_of_its_event():
    session = after(rulebook(), page(f"{SHOP}?gclid=1", referrerUrl="https://www.google.com/")).session
    assert session.referrer.medium == "paid"
    session = after(rulebook(), page("https://www.shop.example/", referrerUrl="https://shop.example/a")).session
    assert session.referrer.medium == "internal"


# --- user agents, as sent by real browsers

AGENTS = {
    "Chrome on Windows": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",  # noqa: E501
        ("Chrome", "126.0.0", "desktop", "Windows"),
    ),
    "Edge on Windows": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.87",  # noqa: E501
        ("Edge", "126.0.2592", "desktop", "Windows"),
    ),
    "Safari on a Mac": (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",  # noqa: E501
        ("Safari", "17.5", "desktop", "Mac OS X"),
    ),
    "Firefox on Linux": (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        ("Firefox", "127.0", "desktop", "Ubuntu"),
    ),
    "Chromebook": (
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",  # noqa: E501
        ("Chrome", "126.0.0", "desktop", "Chrome OS"),
    ),
    "iPhone": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",  # noqa: E501
        ("Mobile Safari", "17.5", "mobile", "iOS"),
    ),
    "iPad": (
        "Mozilla/5.0 (iPad; CPU OS 12_5_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1",  # noqa: E501
        ("Mobile Safari", "12.1.2", "tablet", "iOS"),
    ),
    "Android phone": (
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",  # noqa: E501
        ("Chrome Mobile", "126.0.0", "mobile", "Android"),
    ),
    "Android tablet": (
        "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",  # noqa: E501
        ("Chrome", "126.0.0", "tablet", "Android"),
    ),
    "Kindle Fire": (
        "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/126.3.1 like Chrome/126.0.6478.122 Safari/537.36",  # noqa: E501
        ("Amazon Silk", "126.3.1", "tablet", "Android"),
    ),
    "Googlebot": (
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",  # noqa: E501
        ("Googlebot", "2.1", "other", "Android"),
    ),
    "Bingbot": (
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        ("bingbot", "2.0", "other", None),
    ),
    "curl": ("curl/8.5.0", ("curl", "8.5.0", "other", None)),
    "nonsense": ("x", (None, None, "other", None)),
}


@pytest.mark.parametrize(("agent", "expected"), AGENTS.values(), ids=AGENTS)
def test_browser_and_device_of_real_user_agents(agent, expected):
    browser, device = browser_and_device(agent)
    assert (browser.family, browser.version, device.category, device.os_family) == expected


@pytest.mark.parametrize(
    ("agent", "type_"),
    [(AGENTS["iPhone"][0], "iPhone"), (AGENTS["iPad"][0], "iPad"), (AGENTS["Android phone"][0], "Pixel 8")],
)
def test_a_device_has_a_type(agent, type_):
    assert browser_and_device(agent)[1].type == type_


@pytest.mark.parametrize("agent", ["", "a" * 30_000, "Mozilla/5.0 (" * 2_000, "\x00\ud7ff", "(" * 5_000])
def test_no_user_agent_breaks_anything(agent):
    assert browser_and_device(agent)[1].category in ("other", "desktop")


def test_the_session_keeps_its_first_browser():
    first, second = AGENTS["iPhone"][0], AGENTS["Firefox on Linux"][0]
    session = after(rulebook(), event(userAgent=first, language="de"), event(minute=1, userAgent=second)).session
    assert (session.browser.family, session.browser.lang, session.device.category) == ("Mobile Safari", "de", "mobile")


URL_PIECES = ["http", "https", "HTTPS", "://", "//", "shop.example", "www.", "Shop", "ä", "[::1]", "[", ":80", ":", "@",
              "/", "/a b", "/ä", "?", "?q=1", "#", "#x", "\\", "\t", "\n", " ", "%2F", ";", "-", ".."]  # fmt: skip


@given(st.one_of(st.lists(st.sampled_from(URL_PIECES), max_size=8).map("".join),
                         st.text(max_size=30).map("https://shop.example".__add__)))  # fmt: skip
def test_the_short_way_through_a_plain_url_gives_what_the_long_way_gives(url):
    assert split_url(url) == _split_any_url(url)
