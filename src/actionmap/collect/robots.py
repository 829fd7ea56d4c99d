"""Whether a user agent is a person's browser or a program: crawlers, feed readers, monitors, scripts."""

from __future__ import annotations

import re
from functools import lru_cache

from ua_parser import parse_device

#: A URL or a mail address is the sign of a robot that says whom to ask; no browser carries one. Cubot makes phones.
_ROBOT = re.compile(
    r"(?<!cu)bot|crawl|spider|slurp|fetch|feed|\brss\b|subscriber|reader|preview|monitor|headless|lighthouse"
    r"|https?://|@[\w-]+\.|curl/|wget|libwww|python|ruby|\bperl|^java/|^go-http|okhttp|http_request|^php",
    re.IGNORECASE,
)


@lru_cache(maxsize=16_384)
def is_robot(user_agent: str) -> bool:
    """Whether ``user_agent`` belongs to a program; one that is missing (empty or ``-``) counts as a program too.

    Memoised because a website sees the same few hundred again and again, and ua-parser tries hundreds of patterns.
    """
    if user_agent in ("", "-") or _ROBOT.search(user_agent):
        return True
    device = parse_device(user_agent)
    return device is not None and device.family == "Spider"
