"""A file of events → Kafka: what ``actionmap send FILE`` does, without the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from actionmap.collect.access_log import AccessLog
from actionmap.collect.lines import MAX_LINE_BYTES, Line, LineSplitter, UnreadableInput, chunks
from actionmap.collect.producer import Outgoing
from actionmap.collect.stream import EventStream, StreamTarget
from actionmap.errors import Rejected, SettingsError, Unreachable
from actionmap.event import to_millis, to_rfc3339
from actionmap.wire import WireEvent, parse_event

#: How a file is written: one JSON object a line, or a web server's access log.
Format = Literal["jsonl", "combined"]
#: Longest line of an access log; servers refuse addresses and headers that are much shorter.
MAX_LOG_LINE_BYTES = 64 * 1024
#: Errors kept with their line; the others are counted.
ERRORS_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """A line that is no event."""

    line: int
    #: A fixed word, e.g. ``malformed-json``.
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """How far sending has come, or what became of a file."""

    #: Lines read, blank ones included.
    lines: int = 0
    #: Bytes read, after unpacking.
    bytes: int = 0
    #: Events that Kafka has acknowledged.
    sent: int = 0
    #: Well-formed lines that are meant to be left out, by kind: ``blank``, ``bot``, ``asset``, ``other``.
    skipped: dict[str, int] = field(default_factory=dict)
    #: Lines that are no events, by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    #: The first of those lines.
    errors: tuple[LineError, ...] = ()

    @property
    def rejected_lines(self) -> int:
        """How many lines are no events."""
        return sum(self.rejected.values())

    @property
    def is_clean(self) -> bool:
        """Whether every line was an event, or meant to be left out."""
        return not self.rejected


class LineReader(Protocol):
    """Turns the text of one line into an event and its bytes."""

    def read(self, line: bytes, number: int) -> tuple[WireEvent, bytes] | str:
        """The event and its JSON, or the kind of line that is left out.

        Raises:
            Rejected: the line is no event.
        """


class JsonLines:
    """Lines that are events as they travel."""

    def read(self, line: bytes, number: int) -> tuple[WireEvent, bytes] | str:
        """The event on ``line``, and the line itself."""
        return parse_event(line), line


class CombinedLog:
    """Lines of an access log, as events.

    Args:
        site: Scheme and host of the website, which the log does not name.
    """

    def __init__(self, site: str) -> None:
        self._log = AccessLog(site)

    def read(self, line: bytes, number: int) -> tuple[WireEvent, bytes] | str:
        """The page view on ``line``; bytes that are not UTF-8 become U+FFFD, for a log is whatever clients sent."""
        if len(line) > MAX_LOG_LINE_BYTES:
            raise Rejected("too-large", f"the line is longer than {MAX_LOG_LINE_BYTES:,} bytes")
        event = self._log.read(line.decode(errors="replace"), number)
        if isinstance(event, str):
            return event
        value = msgspec.json.encode(event)
        return parse_event(value), value


async def send_file(
    source: BinaryIO,
    producer: StreamTarget,
    *,
    form: Format = "jsonl",
    site: str = "https://www.example.com",
    shift_to: datetime | None = None,
    in_flight: int = 10_000,
    on_progress: Callable[[SendReport], None] = lambda report: None,
) -> SendReport:
    """Send every event of ``source``, in order, and wait until Kafka has acknowledged all of them.

    Args:
        source: A binary stream, plain or gzip. It is read from where it stands, and not closed.
        producer: Where the events go.
        form: How the lines are written.
        site: Scheme and host for the URLs of an access log.
        shift_to: Move all times by as much as it takes for the last event to happen then; the stream is read twice.
        in_flight: How many events may be unacknowledged at a time.
        on_progress: Told how far it has come, after every chunk and at the end.

    Returns:
        What became of the lines. Bad ones are counted and left out; the good ones are sent.

    Raises:
        SettingsError: ``shift_to`` was asked of a stream that cannot be read twice.
        UnreadableInput: the input breaks off; what came before is sent.
        Unreachable: Kafka stopped acknowledging; the message says how many events it has.
    """
    reader: LineReader = JsonLines() if form == "jsonl" else CombinedLog(site)
    shift = timedelta()
    if shift_to is not None:
        shift = await _shift(source, reader, shift_to)
    stream = EventStream(producer, in_flight)
    sending = _Sending(stream, reader, shift)
    try:
        try:
            async for chunk in chunks(source):
                await sending.feed(chunk)
                on_progress(sending.report())
            await sending.finish()
        except UnreadableInput:
            await stream.drain()
            raise
        await stream.drain()
    except Unreachable as error:
        raise Unreachable(f"{error}; it has {stream.stored:,} of the events up to line {sending.lines:,}") from error
    report = sending.report()
    on_progress(report)
    return report


class _Sending:
    """Reads chunks and keeps the count."""

    def __init__(self, stream: EventStream, reader: LineReader, shift: timedelta) -> None:
        self._stream = stream
        self._reader = reader
        self._shift = shift
        self._splitter = LineSplitter()
        self._bytes = 0
        self.lines = 0
        self._skipped: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._errors: list[LineError] = []

    async def feed(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        for line in self._splitter.feed(chunk):
            await self._send(line)

    async def finish(self) -> None:
        for line in self._splitter.finish():
            await self._send(line)

    async def _send(self, line: Line) -> None:
        self.lines = line.number
        try:
            found = read_line(line, self._reader)
            if isinstance(found, str):
                self._skipped[found] += 1
                return
            event, value = found
            if self._shift:
                value = _moved(event, value, self._shift)
        except Rejected as rejection:
            self._reject(line.number, rejection)
            return
        await self._stream.put(Outgoing(event.visitor_id, value))

    def _reject(self, number: int, rejection: Rejected) -> None:
        self._rejected[rejection.reason] += 1
        if len(self._errors) < ERRORS_KEPT:
            self._errors.append(LineError(line=number, reason=rejection.reason, detail=rejection.detail))

    def report(self) -> SendReport:
        return SendReport(
            lines=self.lines,
            bytes=self._bytes,
            sent=self._stream.stored,
            skipped=dict(self._skipped),
            rejected=dict(self._rejected),
            errors=tuple(self._errors),
        )


def read_line(line: Line, reader: LineReader) -> tuple[WireEvent, bytes] | str:
    """The event on ``line`` and its JSON, or the kind of line that is left out (``blank`` and those of the reader).

    Raises:
        Rejected: the line is no event.
    """
    if line.text is None:
        raise Rejected("too-large", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
    text = line.text.strip()
    return reader.read(text, line.number) if text else "blank"


async def _shift(source: BinaryIO, reader: LineReader, to: datetime) -> timedelta:
    """By how much the times of ``source`` must be moved for its last event to happen at ``to``."""
    if not source.seekable():
        raise SettingsError(
            "moving the times needs the last of them first, so the input is read twice, which a pipe does not allow; "
            "save it to a file and send that"
        )
    start = source.tell()
    splitter = LineSplitter()
    last: datetime | None = None
    async for chunk in chunks(source):
        for line in splitter.feed(chunk):
            last = _later(last, line, reader)
    for line in splitter.finish():
        last = _later(last, line, reader)
    source.seek(start)
    return to - last if last else timedelta()


def _later(last: datetime | None, line: Line, reader: LineReader) -> datetime | None:
    try:
        found = read_line(line, reader)
    except Rejected:
        return last  # reported when the line is to be sent
    moment = None if isinstance(found, str) else found[0].timestamp
    return moment if moment is not None and (last is None or moment > last) else last


def _moved(event: WireEvent, value: bytes, shift: timedelta) -> bytes:
    """``value`` with its time moved; an event without one happens when Kafka takes it."""
    if event.timestamp is None:
        return value
    members: dict[str, Any] = msgspec.json.decode(value)
    try:
        members["timestamp"] = to_rfc3339(to_millis(event.timestamp + shift))
    except OverflowError:
        raise Rejected("invalid-field", f"timestamp: {event.timestamp} cannot be moved by {shift}") from None
    return msgspec.json.encode(members)
