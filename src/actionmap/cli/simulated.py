"""What a simulation found, shown: its firings, what differs from other definitions, which lookups had a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from actionmap.catalog.models import Definition, Integration
from actionmap.catalog.rulebook import Rulebook
from actionmap.cli.output import err, fail, out, print_json_lines, shown
from actionmap.cli.second_opinion import Opinions
from actionmap.collect.lines import MAX_LINE_BYTES, UnreadableInput, read_lines
from actionmap.delivery import Delivery
from actionmap.errors import SettingsError
from actionmap.policy import policy_of
from actionmap.settings import load_settings
from actionmap.simulate import Difference, Simulation, coverage, differences, firing, simulate

_MARKS = {"appears": "[green]+[/]", "disappears": "[red]-[/]", "changes": "[yellow]~[/]"}


def run(rulebook: Rulebook, path: Path, asked: Opinions | None, *, tell: bool) -> Simulation:
    """Simulate the events of the file ``path``, with a bar where there is a terminal; ``tell`` of its bad lines.

    Raises:
        SettingsError: the file cannot be read.
    """
    columns = (TextColumn("simulating"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    size = None if path.suffix == ".gz" or not path.is_file() else path.stat().st_size
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task("simulating", total=size)
        lines = _lines(path, lambda at: progress.update(task, completed=at))
        simulation = simulate(
            rulebook,
            lines,
            source=str(path),
            policy=policy_of(load_settings()),
            on_event=asked.before if asked else None,
            on_decision=asked.after if asked else None,
        )
    for line, reason, detail in simulation.bad_lines if tell else ():
        fail(f"{path}:{line}: {reason}: {detail}")
    return simulation


def _lines(path: Path, on_progress: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    read = 0
    try:
        with path.open("rb") as source:
            for line in read_lines(source):
                if line.text is None:
                    fail(f"{path}:{line.number}: too-large: the line is longer than {MAX_LINE_BYTES:,} bytes")
                    continue
                yield line.number, line.text
                read += len(line.text) + 1
                if line.number % 1000 == 0:
                    on_progress(read)
    except (OSError, UnreadableInput) as error:
        raise SettingsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _chosen(simulation: Simulation, *, shadow: bool) -> Iterable[tuple[Delivery, str]]:
    found = [(one, "") for one in simulation.deliveries]
    if shadow:
        found = sorted([*found, *((one, "shadow") for one in simulation.shadowed)], key=lambda pair: pair[0].at)
    return found


def _as_json(delivery: Delivery, rulebook: Rulebook, mode: str) -> dict[str, Any]:
    made = firing(delivery, rulebook.integrations.get(delivery.integration))
    return {**made, "mode": mode} if mode else made


def _line(delivery: Delivery, integrations: Mapping[str, Integration]) -> str:
    fired = firing(delivery, integrations.get(delivery.integration))
    request = fired["request"]
    return (
        f"{fired['at']} [bold]{shown(delivery.action_map)}[/] for {shown(delivery.visitor_id)}: "
        f"{request['method']} {shown(request['url'])} {shown(request['body'] or '')}"
    )


def print_firings(simulation: Simulation, rulebook: Rulebook, *, shadow: bool) -> None:
    """Print one JSON object a firing."""
    print_json_lines(_as_json(one, rulebook, mode) for one, mode in _chosen(simulation, shadow=shadow))


def show(simulation: Simulation, rulebook: Rulebook, definitions: Mapping[str, Definition], *, shadow: bool) -> None:
    """Print each firing, what became of each map, and how often lookups had a value."""
    for delivery, mode in _chosen(simulation, shadow=shadow):
        out.print(f"{_line(delivery, rulebook.integrations)}{' [dim](shadow: not sent)[/]' if mode else ''}")
    out.print()
    for name, counts in sorted(simulation.verdicts.items()):
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items()))
        out.print(f"[bold]{shown(name)}[/]: {reasons}")
    for row in coverage(simulation, definitions):
        share = row.found / row.firings
        colour = "green" if share == 1 else "yellow" if share else "red"
        out.print(f"[{colour}]{share:4.0%}[/] of {row.firings:,} matches had a value for "
                  f"{shown(row.action_map)}/{shown(row.field)} ({shown(row.lookup)})")  # fmt: skip
    _show_total(simulation)


def _show_total(simulation: Simulation) -> None:
    outcomes = ", ".join(f"{number:,} {name}" for name, number in sorted(simulation.outcomes.items()))
    out.print(f"{simulation.events:,} events ({outcomes or 'none'}), {len(simulation.deliveries):,} firings")


def compare(ours: Simulation, theirs: Simulation, now: Rulebook, before: Rulebook, form: str) -> bool:
    """Print which firings of ``ours`` differ from ``theirs``, as text or ``jsonl``; whether any does."""
    found = differences(ours, theirs)

    def rulebook_of(one: Difference) -> Rulebook:
        return before if one.change == "disappears" else now

    if form == "jsonl":
        print_json_lines({"change": one.change, **_as_json(one.delivery, rulebook_of(one), "")} for one in found)
    else:
        for one in found:
            out.print(f"{_MARKS[one.change]} {one.change} {_line(one.delivery, rulebook_of(one).integrations)}")
        counts = ", ".join(f"{sum(one.change == change for one in found):,} {change[:-1]}" for change in _MARKS)
        visitors = len({one.delivery.visitor_id for one in found})
        out.print(
            f"{len(ours.deliveries):,} firings, {len(theirs.deliveries):,} before: {counts}; {visitors:,} visitors"
        )
    return bool(found)
