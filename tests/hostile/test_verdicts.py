"""P22 and P23: what an answer leads to, over the wire: an attempt, and then another one, later, or none."""

import pytest

from actionmap.deliver.retry import LONGEST_RETRY_AFTER_S, Again, Dead, after_failure
from hostile.sending import delivery, sender, to
from hostile.server import Names, Server, answer, answering, breaking_off, hang_up, silence

NOW = 1_700_000_000_000
TOO_LONG = "1" * 5000


def waits_s(attempt, tries=1):
    """Seconds until the next try; None when there is none."""
    what = after_failure(delivery(owed_at=NOW, attempts=tries), attempt, now=NOW, chance=0.0)
    assert isinstance(what, Again | Dead)
    return (what.at - NOW) / 1000 if isinstance(what, Again) else None


@pytest.mark.parametrize(
    ("headers", "asked_s"),
    [
        ("Retry-After: 120", 120), ("Retry-After: 0", 0), ("Retry-After: 1", 1), ("Retry-After: 120.5", 120.5),
        ("Retry-After: 999999999999", LONGEST_RETRY_AFTER_S),
        ("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_S),
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Retry-After: -1", None), ("Retry-After: 1e309", None), ("Retry-After: NaN", None), ("Retry-After: ", None),
        (f"Retry-After: {TOO_LONG}", None), ("Retry-After: 60\r\nRetry-After: 3600", None), ("X: y", None),
    ],
)  # fmt: skip
async def test_p22_retry_after_only_ever_delays_within_a_cap_and_junk_is_ignored(headers, asked_s):
    told = f"HTTP/1.1 503 Busy\r\n{headers}\r\nContent-Length: 0\r\n\r\n".encode()
    async with answering(told) as server, sender() as out:
        attempt = await out.send(delivery(), to(server.url))
    assert (attempt.outcome, attempt.status, attempt.retry_after_s) == ("retry", 503, asked_s)
    assert waits_s(attempt) == max(asked_s or 0, waits_s(attempt.__class__("retry")))


ALL = 8
#: Status → tries in all.
VERDICTS = {
    **dict.fromkeys((200, 204, 299), 0),
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308, 410), 1),
    **dict.fromkeys((101, 400, 401, 403, 404, 405, 409, 413, 418, 422, 451, 600, 999), 3),
    **dict.fromkeys((408, 425, 429, 500, 501, 502, 503, 504, 508, 599), ALL),
}


@pytest.mark.parametrize(("status", "tries"), VERDICTS.items())
async def test_p23_each_status_is_tried_as_often_as_the_table_says(status, tries):
    async with answering(answer(status)) as server, sender() as out:
        attempt = await out.send(delivery(timeout_s=1), to(server.url))
    assert attempt.status == status
    if not tries:
        assert attempt.outcome == "delivered"
    else:
        assert next(made for made in range(1, ALL + 1) if waits_s(attempt, made) is None) == tries


GONE = {
    "it does not resolve": ("http://gone.example", [OSError(-2, "Name or service not known")], None),
    "its name server fails": ("http://fails.example", [OSError(-3, "Temporary failure in name resolution")], None),
    "it has no address": ("http://empty.example", [[]], None),
    "nobody listens": ("http://127.0.0.1:1", [["127.0.0.1"]], None),
    "it hangs up": (None, [["127.0.0.1"]], hang_up),
    "it resets": (None, [["127.0.0.1"]], breaking_off(b"")),
    "it resets in its headers": (None, [["127.0.0.1"]], breaking_off(b"HTTP/1.1 200 OK\r\nX: ")),
    "it says nothing": (None, [["127.0.0.1"]], silence),
}


@pytest.mark.parametrize(("url", "found", "talk"), GONE.values(), ids=GONE)
async def test_p23_what_brings_no_answer_is_tried_to_the_end_of_the_schedule(url, found, talk):
    async with Server(talk or hang_up) as server, sender(lookup=Names(*found)) as out:
        attempt = await out.send(delivery(timeout_s=0.3), to(url or server.url))
    assert (attempt.outcome, attempt.status, attempt.is_blocked) == ("retry", None, False)
    assert [waits_s(attempt, tries) is None for tries in (1, ALL - 1, ALL)] == [False, False, True]
    assert len(server.requests) <= 1
