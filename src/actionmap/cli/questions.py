"""The command that asks whether action maps would fire: check-golive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from actionmap.cli.client import Client
from actionmap.cli.output import COULD_NOT_ASK, NO, YES, fail, out, print_json, shown

_MARKS = {"pass": "[green]✓[/]", "fail": "[red]✗[/]", "warn": "[yellow]![/]", "skip": "[dim]–[/]"}
TextJsonOrJunit = Annotated[
    Literal["text", "json", "junit"],
    typer.Option("--format", help="Output for people, for programs, or as JUnit XML for pipelines."),
]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("check-golive")(check_golive_command)


def check_golive_command(
    action_map: Annotated[
        str | None, typer.Argument(metavar="[MAP]", help="Action map; all active ones when none is named.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="DIR", help="Ask of files instead of the server.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Let the server connect to where the maps lead, sending nothing there.")
    ] = False,
    format: TextJsonOrJunit = "text",  # noqa: A002 - the option is called so
) -> None:
    """Check whether action maps would really fire; exit code 1 when one is not ready."""
    if rules and probe:
        fail("--probe asks the server, and --rules asks of files: give one of them")
        raise typer.Exit(COULD_NOT_ASK)
    if rules is not None:
        from actionmap.cli.by_files import checked

        results = checked(rules, action_map)
    else:
        results = _asked_of_server(action_map, probe)
    if format == "json":
        print_json(results)
    elif format == "junit":
        from actionmap.golive import as_junit

        sys.stdout.write(as_junit(results))
    else:
        _show_golive(results)
    if not results:
        fail("there is no active action map")
    raise typer.Exit(YES if results and all(result["ready"] for result in results) else NO)


def _asked_of_server(action_map: str | None, probe: bool) -> list[dict[str, Any]]:
    client, query = Client(), {"probe": "true"} if probe else {}
    if action_map:
        return [client.get(f"/api/v1/action-maps/{quote(action_map, safe='')}/go-live", **query)]
    answer: list[dict[str, Any]] = client.get("/api/v1/go-live", **query)
    return answer


def _show_golive(results: list[dict[str, Any]]) -> None:
    for result in results:
        verdict = "[green]ready[/]" if result["ready"] else "[red]not ready[/]"
        out.print(f"[bold]{shown(result['actionMap'])}[/]: {verdict}")
        for check in result["checks"]:
            out.print(f"  {_MARKS[check['status']]} {shown(check['name'])}: {shown(check['message'])}")
            if check["fix"] and check["status"] != "pass":
                out.print(f"      fix: {shown(check['fix'])}")
