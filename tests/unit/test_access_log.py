"""Lines of an access log in combined format become page views."""

import subprocess
import sys
from hashlib import sha256

import msgspec
import pytest

from actionmap.collect.access_log import AccessLog, is_asset
from actionmap.collect.robots import is_robot
from actionmap.errors import Rejected
from actionmap.wire import parse_event

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"


def line(
    request: str = "GET /pricing?a=b HTTP/1.1",
    *,
    address: str = "203.0.113.9",
    time: str = "17/May/2015:10:05:03 +0200",
    status: int = 200,
    size: str = "512",
    referrer: str = "-",
    agent: str = FIREFOX,
) -> str:
    return f'{address} - - [{time}] "{request}" {status} {size} "{referrer}" "{agent}"'


@pytest.fixture
def log() -> AccessLog:
    return AccessLog("https://shop.example/")


def test_a_page_request_is_a_page_view_of_its_address_and_browser(log: AccessLog):
    event = log.read(line(referrer="https://search.example/?q=x"), 7)
    assert isinstance(event, dict)
    assert event.pop("eventId").startswith("log-")
    assert event == {
        "eventName": "page_viewed",
        "visitorId": sha256(f"203.0.113.9 {FIREFOX}".encode()).hexdigest()[:32],
        "timestamp": "2015-05-17T08:05:03.000Z",
        "page": {"url": "https://shop.example/pricing?a=b"},
        "userAgent": FIREFOX,
        "attributes": {"status": 200, "method": "GET", "bytes": 512},
        "referrerUrl": "https://search.example/?q=x",
        "ipAddress": "203.0.113.9",
    }
    parse_event(msgspec.json.encode(event | {"eventId": "e"}))


def test_what_the_log_does_not_know_is_left_out(log: AccessLog):
    event = log.read(line(address="host.example", size="-"), 1)
    assert isinstance(event, dict)
    assert not {"referrerUrl", "ipAddress"} & event.keys()
    assert event["attributes"] == {"status": 200, "method": "GET"}


def test_the_same_line_has_the_same_id_and_another_place_another_one(log: AccessLog):
    first, again, elsewhere = (log.read(line(), number) for number in (1, 1, 2))
    assert isinstance(first, dict)
    assert isinstance(elsewhere, dict)
    assert first == again
    assert first["eventId"] != elsewhere["eventId"]


def test_escaped_quotes_stay_inside_their_field(log: AccessLog):
    event = log.read(line(referrer=r"https://a.example/\"x\"", agent=FIREFOX + r" \"quoted\" \x22"), 1)
    assert isinstance(event, dict)
    assert event["referrerUrl"] == 'https://a.example/"x"'
    assert event["userAgent"] == FIREFOX + ' "quoted" "'


def test_user_names_with_spaces_addresses_of_six_and_further_fields_are_read(log: AccessLog):
    text = line(address="2001:db8::1").replace("- - [", "- John Doe [") + ' "more" 12'
    event = log.read(text, 1)
    assert isinstance(event, dict)
    assert event["ipAddress"] == "2001:db8::1"


def test_an_absolute_url_that_a_proxy_logs_is_kept(log: AccessLog):
    event = log.read(line("GET http://other.example/a HTTP/1.1"), 1)
    assert isinstance(event, dict)
    assert event["page"]["url"] == "http://other.example/a"


@pytest.mark.parametrize(
    "agent",
    ["-", "", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "curl/8.5.0", "Feedbin - 1"],
)
def test_robots_are_left_out_even_when_they_ask_for_assets(log: AccessLog, agent: str):
    assert log.read(line(agent=agent), 1) == "bot"
    assert log.read(line("GET /a.css HTTP/1.1", agent=agent), 1) == "bot"


@pytest.mark.parametrize("path", ["/a.css", "/a.PNG?x=/y", "/favicon.ico", "/blog/feed/", "/feed.rss", "/file.tar.gz"])
def test_assets_feeds_and_downloads_are_left_out(log: AccessLog, path: str):
    assert log.read(line(f"GET {path} HTTP/1.1"), 1) == "asset"


@pytest.mark.parametrize("path", ["/", "/index.html", "/a.php?f=x.css", "/v1.2/notes", "/blog/release-1.2", "/#a.css"])
def test_everything_else_is_a_page(path: str):
    assert not is_asset(f"https://shop.example{path}")


@pytest.mark.parametrize(
    ("request_", "status", "is_page"),
    [
        ("GET / HTTP/1.1", 200, True),
        ("GET / HTTP/1.1", 304, True),
        ("GET / HTTP/1.1", 301, False),
        ("GET / HTTP/1.1", 206, False),
        ("GET / HTTP/1.1", 404, False),
        ("GET / HTTP/1.1", 500, False),
        ("HEAD / HTTP/1.1", 200, False),
        ("POST / HTTP/1.1", 200, False),
        ("OPTIONS * HTTP/1.0", 200, False),
        ("-", 408, False),
        (r"\x16\x03\x01", 400, False),
    ],
)
def test_only_a_get_that_was_answered_with_a_page_is_one(log: AccessLog, request_: str, status: int, is_page: bool):
    assert isinstance(log.read(line(request_, status=status), 1), dict) == is_page


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        '1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1',
        line()[:-1],
        line(time="17/Mai/2015:10:05:03 +0000"),
        line(time="31/Feb/2015:10:05:03 +0000"),
        line(time="yesterday"),
    ],
)
def test_a_line_in_another_format_is_rejected(log: AccessLog, text: str):
    with pytest.raises(Rejected) as caught:
        log.read(text, 1)
    assert caught.value.reason == "malformed-line"


def test_a_telephone_is_no_robot_because_of_its_name():
    assert not is_robot(
        "Mozilla/5.0 (Linux; Android 7.0; CUBOT_X18) AppleWebKit/537.36 Chrome/60.0 Mobile Safari/537.36"
    )
    assert is_robot("Mozilla/5.0 (compatible; Ezooms/1.0; help@moz.com)")


def test_a_malformed_line_is_told_by_its_beginning_and_its_end(log: AccessLog):
    with pytest.raises(Rejected, match=r"203\.0\.113\.9 .* … .*cut off'") as caught:
        log.read(line("GET /" + "a" * 500 + " HTTP/1.1")[:-1] + " cut off", 1)
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize("repeated", [" [", " [x] ", ' [x] "', ' [x] "\\', "\\", ' "', " HTTP/1"])
def test_a_line_written_to_take_long_does_not(repeated: str):
    script = f"""
from actionmap.collect.access_log import AccessLog
from actionmap.errors import Rejected
for before in ("a b", '1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /'):
    for _ in range(30):
        try:
            AccessLog().read((before + {repeated!r} * 60_000)[:60_000], 1)
        except Rejected as rejection:
            assert rejection.reason == "malformed-line"
        else:
            raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
