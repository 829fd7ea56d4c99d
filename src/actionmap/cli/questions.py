"""Commands that ask: check-golive, simulate, openapi."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from actionmap.app import describe_api
from actionmap.catalog.models import Integration
from actionmap.catalog.rulebook import compile_rulebook
from actionmap.cli.client import Client
from actionmap.cli.output import NO, YES, fail, out, print_json, print_json_lines, shown
from actionmap.collect.lines import MAX_LINE_BYTES, UnreadableInput, read_lines
from actionmap.demo.stack import read_rules
from actionmap.engine import policy_of
from actionmap.errors import SettingsError
from actionmap.golive import Surroundings, active_maps, check_golive
from actionmap.process import wall_clock
from actionmap.settings import load_settings
from actionmap.simulate import Simulation, firing
from actionmap.simulate import simulate as run_simulation

_MARKS = {"pass": "[green]✓[/]", "fail": "[red]✗[/]", "warn": "[yellow]![/]", "skip": "[dim]–[/]"}
TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", help="Output for people or for programs.")]
TextOrLines = Annotated[Literal["text", "jsonl"], typer.Option("--format", help="Output for people or for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("check-golive")(check_golive_command)
    for command in (simulate, openapi):
        app.command()(command)


def check_golive_command(
    action_map: Annotated[
        str | None, typer.Argument(metavar="[MAP]", help="Action map; all active ones when none is named.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="DIR", help="Ask of files instead of the server.")
    ] = None,
    format: TextOrJson = "text",  # noqa: A002 - the option is called so
) -> None:
    """Check whether action maps would really fire; exit code 1 when one is not ready."""
    results = _asked_of_files(rules, action_map) if rules else _asked_of_server(action_map)
    if format == "json":
        print_json(results)
    else:
        _show_golive(results)
    if not results:
        fail("there is no active action map")
    raise typer.Exit(YES if results and all(result["ready"] for result in results) else NO)


def _asked_of_files(rules: Path, action_map: str | None) -> list[dict[str, Any]]:
    definitions, settings = read_rules(rules), load_settings()
    around = Surroundings(
        now=wall_clock(),
        egress_hosts=settings.egress_hosts,
        egress_networks=settings.egress_networks,
    )
    names = [action_map] if action_map else active_maps(definitions)
    return [check_golive(definitions, name, around).as_json() for name in names]


def _asked_of_server(action_map: str | None) -> list[dict[str, Any]]:
    client = Client()
    if action_map:
        return [client.get(f"/api/v1/action-maps/{quote(action_map, safe='')}/go-live")]
    answer: list[dict[str, Any]] = client.get("/api/v1/go-live")
    return answer


def _show_golive(results: list[dict[str, Any]]) -> None:
    for result in results:
        verdict = "[green]ready[/]" if result["ready"] else "[red]not ready[/]"
        out.print(f"[bold]{shown(result['actionMap'])}[/]: {verdict}")
        for check in result["checks"]:
            out.print(f"  {_MARKS[check['status']]} {shown(check['name'])}: {shown(check['message'])}")
            if check["fix"] and check["status"] != "pass":
                out.print(f"      fix: {shown(check['fix'])}")


def simulate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the definitions.")],
    events: Annotated[Path, typer.Option("--events", help="Recorded events, one JSON object a line, plain or gzip.")],
    format: TextOrLines = "text",  # noqa: A002 - the option is called so
) -> None:
    """Show what would fire over recorded events, in event time, sending nothing."""
    rulebook = compile_rulebook(read_rules(folder))
    simulation = run_simulation(rulebook, _lines(events), source=str(events), policy=policy_of(load_settings()))
    for line, reason, detail in simulation.bad_lines:
        fail(f"{events}:{line}: {reason}: {detail}")
    if format == "jsonl":
        print_json_lines(
            firing(delivery, rulebook.integrations.get(delivery.integration)) for delivery in simulation.deliveries
        )
    else:
        _show_simulation(simulation, rulebook.integrations)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as source:
            for line in read_lines(source):
                if line.text is None:
                    fail(f"{path}:{line.number}: too-large: the line is longer than {MAX_LINE_BYTES:,} bytes")
                else:
                    yield line.number, line.text
    except (OSError, UnreadableInput) as error:
        raise SettingsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _show_simulation(simulation: Simulation, integrations: Mapping[str, Integration]) -> None:
    for delivery in simulation.deliveries:
        fired = firing(delivery, integrations.get(delivery.integration))
        request = fired["request"]
        out.print(
            f"{fired['at']} [bold]{shown(delivery.action_map)}[/] for {shown(delivery.visitor_id)}: "
            f"{request['method']} {shown(request['url'])} {shown(request['body'] or '')}"
        )
    out.print()
    for name, counts in sorted(simulation.verdicts.items()):
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items()))
        out.print(f"[bold]{shown(name)}[/]: {reasons}")
    for mapping, number in sorted(simulation.missing_lookups.items()):
        out.print(f"[yellow]no value[/] {shown(mapping)}: {number:,} times")
    outcomes = ", ".join(f"{number:,} {name}" for name, number in sorted(simulation.outcomes.items()))
    out.print(f"{simulation.events:,} events ({outcomes or 'none'}), {len(simulation.deliveries):,} firings")


def openapi() -> None:
    """Print the OpenAPI document of collector and admin REST."""
    print_json(describe_api())
