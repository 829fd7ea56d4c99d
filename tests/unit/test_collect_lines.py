"""A stream of bytes becomes lines, in bounded memory."""

import gzip
import io

import pytest

from actionmap.collect.lines import MAX_LINE_BYTES, Line, LineSplitter, UnreadableInput, chunks, plain, read_lines


def split(*parts: bytes, limit: int = 100) -> list[tuple[int, bytes | None]]:
    splitter = LineSplitter(limit)
    lines: list[Line] = []
    for part in parts:
        lines += splitter.feed(part)
    lines += splitter.finish()
    return [(line.number, line.text) for line in lines]


def test_lines_are_joined_over_chunks_and_numbered_from_one():
    assert split(b"on", b"e\ntw", b"o\n\nfour") == [(1, b"one"), (2, b"two"), (3, b""), (4, b"four")]


def test_a_line_break_at_the_end_adds_no_line():
    assert split(b"one\n") == [(1, b"one")]
    assert split(b"") == []


def test_carriage_returns_and_a_byte_order_mark_are_taken_off():
    assert split(b"\xef\xbb\xbfone\r\ntwo\r\n") == [(1, b"one"), (2, b"two")]


def test_a_line_over_the_limit_is_counted_and_let_go_wherever_chunks_end():
    assert split(b"x" * 11 + b"\nb\n", limit=10) == [(1, None), (2, b"b")]
    assert split(b"x" * 6, b"x" * 6, b"x" * 50, b"\nb", limit=10) == [(1, None), (2, b"b")]
    assert split(b"x" * 10 + b"\n", limit=10) == [(1, b"x" * 10)]
    assert split(b"a\n", b"x" * 11, limit=10) == [(1, b"a"), (2, None)]


def test_a_long_line_is_never_held_in_memory():
    splitter = LineSplitter(1000)
    for _ in range(100):
        assert list(splitter.feed(b"x" * 900)) == []
        assert len(splitter._rest) <= 1000


def test_gzip_is_told_by_its_first_bytes():
    for wrap in (io.BytesIO, lambda data: io.BufferedReader(io.BytesIO(data))):
        assert plain(wrap(gzip.compress(b"text"))).read() == b"text"
        assert plain(wrap(b"text")).read() == b"text"
        assert plain(wrap(b"")).read() == b""


async def test_gzip_that_is_cut_off_is_an_error_and_not_silence():
    whole = gzip.compress(bytes(range(256)) * 1000)
    with pytest.raises(UnreadableInput, match="after"):
        async for _ in chunks(io.BytesIO(whole[: len(whole) // 2])):
            pass


def test_lines_can_be_read_without_an_event_loop():
    assert [(line.number, line.text) for line in read_lines(io.BytesIO(gzip.compress(b"a\r\nb")))] == [
        (1, b"a"),
        (2, b"b"),
    ]
    assert [line.text for line in read_lines(io.BytesIO(b"x" * (MAX_LINE_BYTES + 1) + b"\nb"))] == [None, b"b"]
    with pytest.raises(UnreadableInput):
        list(read_lines(io.BytesIO(gzip.compress(b"x" * 1000)[:-10])))
