"""Commands that ask: check-golive, openapi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from actionmap.app import describe_api
from actionmap.cli.client import Client
from actionmap.cli.output import NO, YES, fail, out, print_json, shown
from actionmap.demo.stack import read_rules
from actionmap.golive import Surroundings, active_maps, check_golive
from actionmap.process import wall_clock
from actionmap.settings import load_settings

_MARKS = {"pass": "[green]✓[/]", "fail": "[red]✗[/]", "warn": "[yellow]![/]", "skip": "[dim]–[/]"}
TextOrJson = Annotated[Literal["text", "json"], typer.Option("--format", help="Output for people or for programs.")]
TextOrLines = Annotated[Literal["text", "jsonl"], typer.Option("--format", help="Output for people or for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("check-golive")(check_golive_command)
    app.command()(openapi)


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


def openapi() -> None:
    """Print the OpenAPI document of collector and admin REST."""
    print_json(describe_api())
