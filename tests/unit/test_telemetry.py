"""Logs: whatever becomes of the stream, who writes a line goes on."""

import io
import sys

import structlog

from actionmap.telemetry import configure_logging, logger


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_log_that_nobody_reads_any_more_stops_nobody(monkeypatch):
    before = structlog.get_config()
    try:
        for stream in (Broken(), io.StringIO()):
            monkeypatch.setattr(sys, "stderr", stream)
            configure_logging("info", "json")
            if not isinstance(stream, Broken):
                stream.close()
            logger("test").info("said", what="anything")
    finally:
        structlog.configure(**before)


def test_a_line_is_written_whole(monkeypatch):
    before, stream = structlog.get_config(), io.StringIO()
    try:
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info", "json")
        logger("test").info("said", what="anything")
    finally:
        structlog.configure(**before)
    assert stream.getvalue().endswith("\n")
    assert '"event": "said"' in stream.getvalue()
