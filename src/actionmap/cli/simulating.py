"""Commands that try definitions out, without anything running: simulate, test.

What they work with is imported when they run, as in all modules of commands: ``--help`` shall not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actionmap.cli.output import COULD_NOT_ASK, NO, YES, TextOrLines, err, fail, out, print_findings
from actionmap.errors import DefinitionError, SettingsError

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
    from actionmap.catalog.compile import compile_rulebook
    from actionmap.catalog.folder import read_rules
    from actionmap.cli import simulated
    from actionmap.cli.second_opinion import opinions
    from actionmap.policy import policy_of
    from actionmap.settings import load_settings

    if against and shadow:
        raise SettingsError("--against shows what is sent; give --shadow without it")
    definitions = read_rules(folder)
    rulebook = compile_rulebook(definitions)
    before = compile_rulebook(read_rules(against)) if against else None
    with opinions(definitions, rulebook, policy_of(load_settings()), asked=second_opinion) as asked:
        simulation = simulated.run(rulebook, events, asked, tell=True)
    differ = False
    if before is not None:
        theirs = simulated.run(before, events, None, tell=False)
        differ = simulated.compare(simulation, theirs, rulebook, before, format)
    elif format == "jsonl":
        simulated.print_firings(simulation, rulebook, shadow=shadow)
    else:
        simulated.show(simulation, rulebook, definitions, shadow=shadow)
    if asked is not None:
        asked.show(err if format == "jsonl" else out)
    raise typer.Exit(NO if differ else YES)


def test_command(folder: Folder) -> None:
    """Run the test cases (*.cases.yaml) beside the definitions; exit code 1 when one fails."""
    from actionmap.cases import read_cases, run_case
    from actionmap.catalog.compile import compile_rulebook
    from actionmap.catalog.folder import read_rules
    from actionmap.policy import policy_of
    from actionmap.settings import load_settings

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
