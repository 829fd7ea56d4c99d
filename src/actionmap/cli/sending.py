"""`actionmap send`: stream a file of events into Kafka. What speaks to Kafka is imported when it does."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from actionmap.cli.output import NO, YES, err, fail, out
from actionmap.cli.running import SettingsFile
from actionmap.errors import SettingsError

if TYPE_CHECKING:
    from actionmap.collect.send import SendReport
    from actionmap.settings import Settings

Format = Literal["jsonl", "combined"]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(send)


def send(
    file: Annotated[str, typer.Argument(help="File of events, plain or gzip; - is standard input.")],
    format: Annotated[  # noqa: A002 - the option is called so
        Format, typer.Option("--format", help="jsonl: one event a line; combined: a web server's access log.")
    ] = "jsonl",
    site: Annotated[
        str, typer.Option(help="Scheme and host of the pages in an access log.")
    ] = "https://www.example.com",
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move the times so that the last event is now.")
    ] = False,
    settings: SettingsFile = None,
) -> None:
    """Stream events into Kafka; bad lines are told by number and left out, the good ones are sent."""
    from actionmap.settings import load_settings
    from actionmap.telemetry import configure_logging

    loaded = load_settings(settings)
    configure_logging("error", "text")
    with ExitStack() as opened:
        source = sys.stdin.buffer if file == "-" else opened.enter_context(_open(Path(file)))
        size = None if file == "-" else Path(file).stat().st_size
        now = datetime.now(UTC) if shift_to_now else None
        report = asyncio.run(_send(loaded, source, size, format, site, now))
    _tell(report)
    raise typer.Exit(YES if report.is_clean else NO)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None


async def _send(
    settings: Settings, source: BinaryIO, size: int | None, form: Format, site: str, now: datetime | None
) -> SendReport:
    from actionmap.app import open_producer, prepare_topic
    from actionmap.collect.send import send_file

    await prepare_topic(settings)
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[sent]:,} events"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task("sending", total=size, sent=0)

        def on_progress(report: SendReport) -> None:
            at = source.tell() if size is not None else report.bytes
            progress.update(task, completed=at, sent=report.sent)

        async with await open_producer(settings) as producer:
            return await send_file(source, producer, form=form, site=site, shift_to=now, on_progress=on_progress)


def _tell(report: SendReport) -> None:
    for error in report.errors:
        fail(f"line {error.line}: {error.reason}: {error.detail}")
    if report.rejected_lines > len(report.errors):
        fail(f"… and {report.rejected_lines - len(report.errors):,} more lines")
    skipped = ", ".join(f"{number:,} {name}" for name, number in sorted(report.skipped.items()) if number)
    rejected = ", ".join(f"{number:,} {name}" for name, number in sorted(report.rejected.items()))
    out.print(
        f"{report.sent:,} events sent from {report.lines:,} lines"
        + (f"; left out: {skipped}" if skipped else "")
        + (f"; bad: {rejected}" if rejected else "")
    )
