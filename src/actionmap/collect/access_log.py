"""A line of a web server's access log (Apache and nginx, *combined* format) → a ``page_viewed`` event.

A page request is a GET that was answered with a page: a status of 2xx (but for 206, a part of a download) or 304 (the
browser's copy is still good), of a path that is no asset. A redirect is none, because the request that follows it is
in the log too; HEAD is none, because nobody sees a page then.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Literal

from actionmap.collect.robots import is_robot
from actionmap.errors import Rejected
from actionmap.event import PAGE_VIEWED, to_millis, to_rfc3339

#: Why a well-formed line is no page view: a robot asked, for an asset, or it was no page request (method or status).
Skip = Literal["bot", "asset", "other"]

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
# The user name is bounded: each " [" in it is one more try at the rest of the line.
_LINE = re.compile(
    rf"(\S+) \S+ .{{0,256}}? \[([^\]]{{1,64}})\] {_QUOTED} (\d{{3}}) (\d+|-) {_QUOTED} {_QUOTED}(?:\s.*)?"
)
_TIME = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})", re.ASCII)
_REQUEST = re.compile(r"([A-Z]+) (\S.*?)(?: HTTP/[\d.]+)?")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
# Not strptime: its month names follow the locale.
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}

#: Endings of what a page is made of, of feeds, and of downloads. Any other ending (.html, .php, /v1.2) is a page.
_ASSET_ENDINGS = """
    css js mjs map json wasm png jpg jpeg gif ico svg webp avif bmp tif tiff woff woff2 ttf otf eot cur
    mp3 mp4 m4a m4v webm ogg ogv oga wav avi mov swf flv
    xml xsl rss atom rdf txt log csv conf pdf ps tex doc docx xls xlsx ppt pptx odt ods epub
    zip gz tgz bz2 xz zst tar 7z rar jar war gem whl deb rpm apk dmg exe msi iso bin pcap
    c cc cpp h hpp py pyc rb pl lua go rs java sh m4 mk vim diff patch spec
"""
ASSETS = frozenset(_ASSET_ENDINGS.split())
#: Last parts of paths that are feeds although they have no ending.
FEEDS = frozenset({"feed", "rss", "atom"})


class AccessLog:
    """Reads the lines of one website's access log.

    Args:
        site: Scheme and host of the website, which the log does not name.
    """

    def __init__(self, site: str = "https://www.example.com") -> None:
        self._site = site.rstrip("/")

    def read(self, line: str, number: int) -> dict[str, Any] | Skip:
        """The event that ``line`` stands for, as sent over the wire.

        Its ``eventId`` is a hash of the line and its number, so that the same file sent twice counts once. Its
        ``visitorId`` is the first 32 hex digits of sha256 over address, space and user agent.

        Args:
            line: One line, without its line break.
            number: Which line it is; two equal lines are two page views.

        Returns:
            The event, or why the line is none.

        Raises:
            Rejected: ``malformed-line``: it is not in combined format.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            raise Rejected("malformed-line", f"not in combined log format: {_ends(line)}")
        address, time, request, status, size, referrer, user_agent = match.groups()
        moment = _moment(time)
        user_agent = _unescape(user_agent)
        if is_robot(user_agent):
            return "bot"
        asked = _REQUEST.fullmatch(_unescape(request))
        if asked is None or asked[1] != "GET" or not (target := self._absolute(asked[2])):
            return "other"
        if is_asset(target):
            return "asset"
        if status != "304" and (status[0] != "2" or status == "206"):
            return "other"
        event: dict[str, Any] = {
            "eventId": f"log-{sha256(f'{number} {line}'.encode()).hexdigest()[:32]}",
            "eventName": PAGE_VIEWED,
            "visitorId": sha256(f"{address} {user_agent}".encode()).hexdigest()[:32],
            "timestamp": to_rfc3339(to_millis(moment)),
            "page": {"url": target},
            "userAgent": user_agent,
            "attributes": {"status": int(status), "method": asked[1]},
        }
        if size != "-":
            event["attributes"]["bytes"] = int(size)
        if referrer not in ("-", ""):
            event["referrerUrl"] = _unescape(referrer)
        if _is_address(address):
            event["ipAddress"] = address
        return event

    def _absolute(self, target: str) -> str | None:
        if target.startswith("/"):
            return self._site + target
        # A proxy logs the whole URL; anything else ("*", an attack's bytes) is no page.
        return target if target.startswith(("http://", "https://")) else None


def is_asset(url: str) -> bool:
    """Whether the path of ``url`` ends as an asset, a feed or a download does."""
    path = re.split(r"[?#;]", url.partition("://")[2].partition("/")[2], maxsplit=1)[0]
    last = path.rstrip("/").rpartition("/")[2].lower()
    _, dot, ending = last.rpartition(".")
    return ending in ASSETS if dot else last in FEEDS


def _moment(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError("not as in 17/May/2015:10:05:03 +0000")
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes)) * (-1 if sign == "-" else 1)
        # A leap second has no place in a datetime.
        parts = (int(year), _MONTHS[month], int(day), int(hour), int(minute), min(int(second), 59))
        return datetime(*parts, tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, KeyError, OverflowError) as error:
        raise Rejected("malformed-line", f"time {text!r}: {error}") from None


def _ends(line: str) -> str:
    """``line``, or its beginning and its end: what is cut off of a line is as often missing at one as at the other."""
    return repr(line) if len(line) <= 160 else f"{line[:100]!r} … {line[-60:]!r}"


def _unescape(text: str) -> str:
    r"""Undo what servers do to quotes and control characters: ``\"``, ``\\``, ``\x22``, ``\n``."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _CONTROL.get(found[2], found[2]), text)


@lru_cache(maxsize=16_384)
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False  # servers that look names up log host names
    return True
