"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from actionmap.demo.screen import shown
from actionmap.errors import Finding

__all__ = ["COULD_NOT_ASK", "NO", "YES", "TextOrJson", "TextOrLines", "err", "fail", "note", "out", "print_findings",
           "print_json", "print_json_lines", "print_table", "shown"]  # fmt: skip

TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", help="Output for people or for programs.")]
TextOrLines = Annotated[Literal["text", "jsonl"], typer.Option("--format", help="Output for people or for programs.")]
YES, NO, COULD_NOT_ASK = 0, 1, 2
#: Control characters that JSON lets stand in a text.
_LEFT_BY_JSON = re.compile("[\x7f-\x9f\u2028\u2029]")
_ANY_WIDTH = 100_000

#: For results, and for what goes along with them. Rich turns colours off where there is no terminal.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Print an error."""
    for line in message.split("\n"):
        err.print(f"[red]error:[/] {shown(line)}" if not line.startswith("error:") else shown(line))


def note(message: str) -> None:
    """Print what is good to know and no result."""
    err.print(shown(message))


def print_json(value: Any) -> None:
    """Print one JSON value, and nothing else, on standard output."""
    print(_as_json(value, indent=2))  # noqa: T201 - exactly this, without rich's wrapping


def print_json_lines(values: Iterable[Any]) -> None:
    """Print one JSON value a line, and nothing else, on standard output."""
    for value in values:
        print(_as_json(value))  # noqa: T201 - exactly this, without rich's wrapping


def _as_json(value: Any, indent: int | None = None) -> str:
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def print_table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print ``rows`` below ``names``: folded into a terminal's width, and where there is none as wide as they are."""
    table = Table(box=SIMPLE)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    wide = out if out.is_terminal else Console(highlight=False, width=_ANY_WIDTH)
    wide.print(table)


def print_findings(findings: Iterable[Finding]) -> None:
    """Print findings, errors in red and warnings in yellow."""
    for finding in findings:
        colour = "red" if finding.severity == "error" else "yellow"
        text = str(finding)
        place, word, rest = text.partition(f"{finding.severity}:")
        out.print(f"{shown(place)}[{colour}]{word}[/]{shown(rest)}")
