"""What the demo shows on the terminal: steps, progress, one line per firing, and the summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from actionmap.delivery import Attempt, Delivery
from actionmap.event import to_rfc3339

if TYPE_CHECKING:
    from actionmap.demo.run import Outcome

#: What a terminal acts on instead of showing it, or breaks the line at.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    r"""``text`` with its control characters as escapes (``\x1b``): visitors and receivers write what we print."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def shown(text: object) -> str:
    """``text`` as Rich prints it unchanged: `printable`, and no markup."""
    return escape(printable(str(text)))


class Screen:
    """The terminal of a demo."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def step(self, text: str) -> None:
        """One thing that is being done."""
        self._console.print(f"[dim]•[/] {shown(text)}")

    @contextmanager
    def streaming(self, events: int) -> Iterator[None]:
        """Show how many of ``events`` are sent and evaluated, as long as the context lasts."""
        with self._progress:
            for name in ("sent", "evaluated"):
                self._tasks[name] = self._progress.add_task(name, total=events)
            yield

    def sent(self, number: int) -> None:
        """So many events are in Kafka."""
        self._progress.update(self._tasks["sent"], completed=number)

    def evaluated(self, number: int) -> None:
        """So many events are evaluated."""
        if "evaluated" in self._tasks:
            self._progress.update(self._tasks["evaluated"], completed=number)

    def attempted(self, delivery: Delivery, attempt: Attempt) -> None:
        """One firing, in one line."""
        colour = "green" if attempt.outcome == "delivered" else "red"
        answer = str(attempt.status) if attempt.status else (attempt.error or attempt.outcome)
        self._console.print(
            f"{to_rfc3339(delivery.at)[11:19]} [{colour}]{shown(answer)}[/] [bold]{shown(delivery.action_map)}[/]"
            f" → {shown(delivery.webhook)} [dim]{shown(delivery.method)} {shown(delivery.integration)}"
            f"{shown(delivery.target)} for {shown(delivery.visitor_id)} in {attempt.duration_s * 1000:.0f} ms[/]",
            highlight=False,
            soft_wrap=True,
        )

    def summary(self, outcome: Outcome, p50_ms: int, p99_ms: int) -> None:
        """What the demo has seen, beside what it expected."""
        table = Table("action map", "fired", "blocked", box=SIMPLE, title="What the maps did", title_justify="left")
        for name, counts in sorted(outcome.verdicts.items()):
            blocked = ", ".join(
                f"{reason} {number:,}" for reason, number in sorted(counts.items()) if reason != "fired"
            )
            table.add_row(name, f"{counts['fired']:,}", blocked)
        self._console.print()
        self._console.print(table)
        rows = {
            "events": f"{outcome.expected.events:,} sent, {outcome.evaluated:,} evaluated",
            "decisions": ", ".join(f"{number:,} {name}" for name, number in sorted(outcome.outcomes.items())),
            "webhooks": f"{len(outcome.wanted):,} expected, {len(outcome.accepted & outcome.wanted):,} arrived and "
            f"verified, {len(outcome.accepted - outcome.wanted):,} unexpected, {outcome.refused:,} refused",
            "event to webhook": f"p50 {p50_ms} ms, p99 {p99_ms} ms (from the record in Kafka to the receiver)",
            "took": f"{outcome.seconds:.1f} s",
        }
        for name, text in rows.items():
            self._console.print(f"[bold]{name:<18}[/]{shown(text)}", highlight=False)
        if outcome.is_complete:
            self._console.print("[bold green]Every expected webhook arrived, once decided, signed and verified.[/]")
        else:
            self._console.print("[bold red]Not every expected webhook arrived and verified.[/]")
