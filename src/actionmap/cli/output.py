"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape

from actionmap.errors import Finding

YES, NO, COULD_NOT_ASK = 0, 1, 2

#: For results, and for what goes along with them. Rich turns colours off where there is no terminal.
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Print an error."""
    for line in message.splitlines() or [""]:
        err.print(f"[red]error:[/] {escape(line)}" if not line.startswith("error:") else escape(line))


def note(message: str) -> None:
    """Print what is good to know and no result."""
    err.print(escape(message))


def print_json(value: Any) -> None:
    """Print one JSON value, and nothing else, on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201 - exactly this, without rich's wrapping


def print_json_lines(values: Iterable[Any]) -> None:
    """Print one JSON value a line, and nothing else, on standard output."""
    for value in values:
        print(json.dumps(value, ensure_ascii=False))  # noqa: T201 - exactly this, without rich's wrapping


def print_findings(findings: Iterable[Finding]) -> None:
    """Print findings, errors in red and warnings in yellow."""
    for finding in findings:
        colour = "red" if finding.severity == "error" else "yellow"
        text = str(finding)
        place, word, rest = text.partition(f"{finding.severity}:")
        out.print(f"{escape(place)}[{colour}]{word}[/]{escape(rest)}")
