"""A binary stream, plain or gzip, → its lines, none of them ever larger in memory than a limit."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from actionmap.errors import ActionmapError

MAX_LINE_BYTES = 1024 * 1024
CHUNK_BYTES = 256 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableInput(ActionmapError):
    """The file cannot be read to its end; the message says where it broke off."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input."""

    #: Counted from 1.
    number: int
    #: Without its line break; None for a line longer than the limit, whose bytes were let go.
    text: bytes | None


class LineSplitter:
    """Cuts chunks of bytes into lines.

    Args:
        max_line_bytes: Longer lines are counted, and their bytes let go.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._rest = b""
        self._too_long = False
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in ``chunk``."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield self._end(part)
        self._keep(rest)

    def finish(self) -> Iterator[Line]:
        """The last line, where no line break follows it."""
        if self._rest or self._too_long:
            yield self._end(b"")

    def _keep(self, part: bytes) -> None:
        if self._too_long or len(self._rest) + len(part) > self._max:
            self._too_long, self._rest = True, b""
        else:
            self._rest += part

    def _end(self, part: bytes) -> Line:
        self._keep(part)
        self._number += 1
        text = None if self._too_long else self._rest.removesuffix(b"\r")
        if self._number == 1 and text is not None:
            text = text.removeprefix(_BYTE_ORDER_MARK)
        self._rest, self._too_long = b"", False
        return Line(self._number, text)


def plain(source: BinaryIO) -> BinaryIO:
    """``source`` itself, or what it unpacks to when it begins as gzip does.

    A `BufferedReader`, such as standard input's, is peeked at; of anything else two bytes are read and put back.
    """
    if isinstance(source, io.BufferedReader):
        head = source.peek(2)[:2]
    else:
        start = source.tell()
        head = source.read(2)
        source.seek(start)
    return gzip.GzipFile(fileobj=source) if head == _GZIP_MAGIC else source  # type: ignore[return-value]


async def chunks(source: BinaryIO, size: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
    """The bytes of ``source``, unpacked, as they come; read in a thread, because a pipe may be silent for long.

    Raises:
        UnreadableInput: reading fails, or the gzip data are broken or cut off.
    """
    pieces = _read(source, size)
    while chunk := await asyncio.to_thread(next, pieces, b""):
        yield chunk


def read_lines(source: BinaryIO) -> Iterator[Line]:
    """The lines of ``source``, unpacked; raises as `chunks` does."""
    splitter = LineSplitter()
    for chunk in _read(source, CHUNK_BYTES):
        yield from splitter.feed(chunk)
    yield from splitter.finish()


def _read(source: BinaryIO, size: int) -> Iterator[bytes]:
    read = 0
    try:
        unpacked = plain(source)
        while chunk := unpacked.read1(size):  # type: ignore[attr-defined]
            read += len(chunk)
            yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableInput(f"the input cannot be read after {read:,} bytes: {error}") from error
