"""Commands that try definitions out, without anything running: simulate, test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from actionmap.cases import read_cases, run_case
from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.models import Definition, Integration
from actionmap.catalog.rulebook import Rulebook
from actionmap.cli.output import COULD_NOT_ASK, NO, YES, err, fail, out, print_findings, print_json_lines, shown
from actionmap.cli.questions import TextOrLines
from actionmap.cli.second_opinion import Opinions, opinions
from actionmap.collect.lines import MAX_LINE_BYTES, UnreadableInput, read_lines
from actionmap.delivery import Delivery
from actionmap.demo.stack import read_rules
from actionmap.engine import policy_of
from actionmap.errors import DefinitionError, SettingsError
from actionmap.settings import load_settings
from actionmap.simulate import Difference, Simulation, coverage, differences, firing
from actionmap.simulate import simulate as run_simulation

_MARKS = {"appears": "[green]+[/]", "disappears": "[red]-[/]", "changes": "[yellow]~[/]"}
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the definitions.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(simulate)
    app.command("test")(test_command)


def simulate(
    folder: Folder,
    events: Annotated[Path, typer.Option("--events", help="Recorded events, one JSON object a line, plain or gzip.")],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="DIR", help="Show what fires differently from these definitions."),
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Show the firings of maps in shadow mode too.")] = False,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Show on which events durable-rules disagrees (extra: durable).")
    ] = False,
    format: TextOrLines = "text",  # noqa: A002 - the option is called so
) -> None:
    """Show what would fire over recorded events, in event time, sending nothing.

    With --against the exit code is 1 when firings differ.
    """
    if against and shadow:
        raise SettingsError("--against shows what is sent; give --shadow without it")
    definitions = read_rules(folder)
    rulebook = compile_rulebook(definitions)
    before = compile_rulebook(read_rules(against)) if against else None
    with opinions(definitions, rulebook, policy_of(load_settings()), asked=second_opinion) as asked:
        simulation = _simulated(rulebook, events, asked, tell=True)
    differ = False
    if before is not None:
        differ = _compare(simulation, _simulated(before, events, None, tell=False), rulebook, before, format)
    elif format == "jsonl":
        print_json_lines(_as_json(one, rulebook, mode) for one, mode in _shown(simulation, shadow=shadow))
    else:
        _show(simulation, rulebook, definitions, shadow=shadow)
    if asked is not None:
        asked.show(err if format == "jsonl" else out)
    raise typer.Exit(NO if differ else YES)


def _simulated(rulebook: Rulebook, path: Path, asked: Opinions | None, *, tell: bool) -> Simulation:
    columns = (TextColumn("simulating"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    size = None if path.suffix == ".gz" or not path.is_file() else path.stat().st_size
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task("simulating", total=size)
        lines = _lines(path, lambda at: progress.update(task, completed=at))
        simulation = run_simulation(
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


def _shown(simulation: Simulation, *, shadow: bool) -> Iterable[tuple[Delivery, str]]:
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


def _show(simulation: Simulation, rulebook: Rulebook, definitions: Mapping[str, Definition], *, shadow: bool) -> None:
    for delivery, mode in _shown(simulation, shadow=shadow):
        out.print(f"{_line(delivery, rulebook.integrations)}{' [dim](shadow: not sent)[/]' if mode else ''}")
    out.print()
    for name, counts in sorted(simulation.verdicts.items()):
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items()))
        out.print(f"[bold]{shown(name)}[/]: {reasons}")
    for row in coverage(simulation, definitions):
        share = row.found / row.firings
        colour = "green" if share == 1 else "yellow" if share else "red"
        out.print(f"[{colour}]{share:4.0%}[/] of {row.firings:,} firings had a value for "
                  f"{shown(row.action_map)}/{shown(row.field)} ({shown(row.lookup)})")  # fmt: skip
    _show_total(simulation)


def _show_total(simulation: Simulation) -> None:
    outcomes = ", ".join(f"{number:,} {name}" for name, number in sorted(simulation.outcomes.items()))
    out.print(f"{simulation.events:,} events ({outcomes or 'none'}), {len(simulation.deliveries):,} firings")


def _compare(ours: Simulation, theirs: Simulation, now: Rulebook, before: Rulebook, form: str) -> bool:
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


def test_command(folder: Folder) -> None:
    """Run the test cases (*.cases.yaml) beside the definitions; exit code 1 when one fails."""
    rulebook = compile_rulebook(read_rules(folder))
    try:
        cases = read_cases(folder)
    except DefinitionError as error:
        print_findings(error.findings)
        raise typer.Exit(COULD_NOT_ASK) from None
    if not cases:
        fail(f"there are no test cases (*.cases.yaml) in {folder}")
        raise typer.Exit(COULD_NOT_ASK)
    policy = policy_of(load_settings())
    failures = [run_case(case, rulebook, policy) for case in cases]
    print_findings(finding for findings in failures for finding in findings)
    failed = sum(bool(findings) for findings in failures)
    out.print(f"{len(cases) - failed} of {len(cases)} cases passed")
    raise typer.Exit(NO if failed else YES)
