"""A stream into Kafka, and what `send` makes of a file, with a written producer."""

import asyncio
import gzip
import io
import json
from collections import deque
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from actionmap.collect.producer import Outgoing
from actionmap.collect.send import ERRORS_KEPT, SendReport, send_file
from actionmap.collect.stream import EventStream
from actionmap.errors import SettingsError, Unreachable


class FakeProducer:
    """Acknowledges the oldest event whenever somebody waits for progress."""

    def __init__(self, room: int = 10**9) -> None:
        self.taken: list[Outgoing] = []
        self.unanswered: deque[asyncio.Future[Any]] = deque()
        self.owed_bytes = 0
        self.most_unanswered = 0
        self.silent = False
        self.failing_at: int | None = None
        self._room = room

    def has_room(self, more_bytes: int = 0) -> bool:
        return self.owed_bytes + more_bytes <= self._room

    async def hand_over(self, event: Outgoing) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self.owed_bytes += event.cost
        self.taken.append(event)
        self.unanswered.append(answer)
        self.most_unanswered = max(self.most_unanswered, len(self.unanswered))
        return answer

    async def wait_for_progress(self) -> None:
        if self.silent:
            raise Unreachable("silent")
        self.owed_bytes -= self.taken[-len(self.unanswered)].cost
        answer = self.unanswered.popleft()
        if len(self.taken) - len(self.unanswered) - 1 == self.failing_at:
            answer.set_exception(KafkaTimeoutError())
        else:
            answer.set_result(SimpleNamespace())
        await asyncio.sleep(0)  # callbacks run


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"eventName": "page_viewed", "visitorId": f"v{number}", **more}


def file(*lines: object) -> io.BytesIO:
    return io.BytesIO(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))


async def test_no_more_events_than_allowed_are_unacknowledged(producer: FakeProducer):
    stream = EventStream(producer, in_flight=3)
    for number in range(20):
        await stream.put(Outgoing(f"v{number}", b"{}"))
    await stream.drain()
    assert producer.most_unanswered == 3
    assert stream.stored == 20
    assert [taken.visitor_id for taken in producer.taken] == [f"v{number}" for number in range(20)]


async def test_a_full_buffer_holds_the_stream_back():
    producer = FakeProducer(room=1000)
    stream = EventStream(producer)
    for number in range(10):
        await stream.put(Outgoing(f"v{number}", b"x" * 100))
    await stream.drain()
    assert producer.most_unanswered <= 3


async def test_the_first_event_that_is_not_acknowledged_ends_the_stream(producer: FakeProducer):
    producer.failing_at = 1
    stream = EventStream(producer, in_flight=1)
    with pytest.raises(Unreachable, match="did not acknowledge"):
        for number in range(10):
            await stream.put(Outgoing(f"v{number}", b"{}"))
    assert len(producer.taken) == 2


async def test_good_lines_are_sent_as_they_are_and_bad_ones_named(producer: FakeProducer):
    report = await send_file(
        file(event(1), b"", b"  ", b"nonsense", event(2), {"eventName": "x"}, event(3, eventName="visitor_erased")),
        producer,
    )
    assert [taken.value for taken in producer.taken] == [json.dumps(event(1)).encode(), json.dumps(event(2)).encode()]
    assert (report.lines, report.sent, report.skipped) == (7, 2, {"blank": 2})
    assert report.rejected == {"malformed-json": 1, "invalid-field": 1, "reserved-event": 1}
    assert [(error.line, error.reason) for error in report.errors] == [
        (4, "malformed-json"),
        (6, "invalid-field"),
        (7, "reserved-event"),
    ]
    assert report.rejected_lines == 3
    assert not report.is_clean


async def test_lines_too_large_for_an_event_or_for_memory_are_counted_alike(producer: FakeProducer):
    report = await send_file(file(b"x" * 40_000, b"x" * 3_000_000, event(1)), producer)
    assert report.rejected == {"too-large": 2}
    assert report.sent == 1


async def test_all_errors_are_counted_and_the_first_ones_kept(producer: FakeProducer):
    report = await send_file(file(*[b"x"] * (ERRORS_KEPT + 50)), producer)
    assert report.rejected_lines == ERRORS_KEPT + 50
    assert len(report.errors) == ERRORS_KEPT


async def test_progress_is_told_and_the_last_word_is_the_report(producer: FakeProducer):
    told: list[SendReport] = []
    source = file(*[event(number) for number in range(20_000)])
    report = await send_file(source, producer, on_progress=told.append)
    assert len(told) > 3
    assert [each.lines for each in told] == sorted(each.lines for each in told)
    assert told[-1] == report
    assert report.bytes == len(source.getvalue())


async def test_a_gzip_file_is_unpacked(producer: FakeProducer):
    report = await send_file(io.BytesIO(gzip.compress(file(event(1)).getvalue())), producer)
    assert report.sent == 1


async def test_an_access_log_is_sent_as_page_views_and_the_rest_is_counted(producer: FakeProducer):
    entry = b'1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET %s HTTP/1.1" %s 5 "-" "%s"'
    browser = b"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
    report = await send_file(
        file(
            entry % (b"/a", b"200", browser),
            entry % (b"/a.css", b"200", browser),
            entry % (b"/b", b"404", browser),
            entry % (b"/a", b"200", b"Googlebot"),
            b"nonsense \xff",
        ),
        producer,
        form="combined",
        site="https://shop.example",
    )
    assert json.loads(producer.taken[0].value)["page"]["url"] == "https://shop.example/a"
    assert report.skipped == {"asset": 1, "other": 1, "bot": 1}
    assert report.rejected == {"malformed-line": 1}
    assert report.errors[0].line == 5


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def test_times_are_moved_so_that_the_last_event_happens_now(producer: FakeProducer):
    source = file(
        event(1, timestamp="2015-05-17T10:00:00Z", attributes={"n": 1.50}),
        event(2, timestamp="2015-05-17T14:00:00.5+02:00"),
        event(3),
        b"nonsense",
    )
    await send_file(source, producer, shift_to=NOW)
    sent = [json.loads(taken.value) for taken in producer.taken]
    assert [each.get("timestamp") for each in sent] == ["2026-11-21T09:59:59.500Z", "2026-11-21T12:00:00.000Z", None]
    assert sent[0]["attributes"] == {"n": 1.5}


async def test_times_cannot_be_moved_in_a_pipe(producer: FakeProducer):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(SettingsError, match="read twice"):
        await send_file(Pipe(b"{}"), producer, shift_to=NOW)


async def test_when_kafka_falls_silent_the_message_says_how_far_it_came(producer: FakeProducer):
    producer.silent = True
    with pytest.raises(Unreachable, match="it has 0 of the events up to line 3"):
        await send_file(file(event(1), event(2), event(3)), producer, in_flight=2)


async def test_a_line_that_no_server_logs_is_named_by_its_number(producer: FakeProducer):
    good = '1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "Mozilla/5.0 (X11) Firefox/144.0"'
    log = "\n".join([good, good.replace("GET /", "GET /a.css?" + "x" * 65_536), good])
    report = await send_file(io.BytesIO(log.encode()), producer, form="combined")
    assert (report.sent, report.rejected) == (2, {"too-large": 1})
    assert report.errors[0].line == 2
