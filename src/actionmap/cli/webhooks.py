"""The command that tries a webhook out: webhooks test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from actionmap.cli.client import Client
from actionmap.cli.explaining import read_events
from actionmap.cli.output import NO, YES, TextOrJson, fail, out, print_json, print_table, shown
from actionmap.errors import SettingsError


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Webhooks, tried out.")
    group.callback()(lambda: None)
    group.command("test")(test_webhook)
    app.add_typer(group, name="webhooks")


def test_webhook(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Webhook, in any state.")],
    visitor: Annotated[
        str | None, typer.Option("--visitor", metavar="ID", help="With the values of this visitor as now.")
    ] = None,
    event: Annotated[
        Path | None,
        typer.Option("--event", metavar="FILE", help="With those of the last event of the file, the others before it."),
    ] = None,
    is_sent: Annotated[bool, typer.Option("--send", help="Send it, once.")] = False,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="DIR", help="By files instead of the server; secrets from the environment."),
    ] = None,
    format: TextOrJson = "text",  # noqa: A002 - the option is called so
) -> None:
    """Show what a webhook would send, with sample values or real ones; with --send, send it and show the answer.

    Nothing is stored, and no visitor changes. Exit code 1 when nothing would be sent, or it was not accepted.
    """
    if visitor is not None and event is not None:
        raise SettingsError("give --visitor ID or --event FILE, not both")
    if rules is not None and visitor is not None:
        raise SettingsError("--rules asks of files, which know no visitors: give --event FILE with it, or neither")
    events = read_events(event) if event else None
    if rules is not None:
        from actionmap.cli.by_files import tried

        found = asyncio.run(tried(rules, name, events, is_sent=is_sent))
    else:
        asked = {"visitorId": visitor, "events": events, "send": is_sent}
        body = {key: value for key, value in asked.items() if value is not None}
        found = Client().post(f"/api/v1/webhooks/{quote(name, safe='')}/test", body)
    if format == "json":
        print_json(found)
    else:
        _show(found)
    accepted = found["response"] is None or found["response"]["outcome"] == "delivered"
    raise typer.Exit(YES if not found["problem"] and accepted else NO)


def _show(found: dict[str, Any]) -> None:
    out.print(f"[bold]{shown(found['webhook'])}[/] ({shown(found['state'])}) to {shown(found['integration'])}")
    rows = []
    for one in found["values"]:
        source = f"{one['origin']} ({one['lookup']})" if one["lookup"] else one["origin"]
        missing = f"{one['missing']}; onMissing: {one['onMissing']}" if one["missing"] else ""
        rows.append((shown(one["field"]), shown(_text(one["value"])), shown(source), shown(missing)))
    print_table(("field", "value", "from", "missing"), rows)
    if found["problem"]:
        fail(found["problem"])
    if found["request"]:
        _show_request(found["request"])
    if found["response"]:
        _show_response(found["response"], found)


def _show_request(request: dict[str, Any]) -> None:
    out.print(f"[bold]{shown(request['method'])}[/] {shown(request['url'])}")
    for name, value in request["headers"].items():
        out.print(f"{shown(name)}: {shown(value)}")
    if request["body"] is not None:
        out.print(shown(request["body"]))


def _show_response(response: dict[str, Any], found: dict[str, Any]) -> None:
    colour = "green" if response["outcome"] == "delivered" else "red"
    took = "" if response["durationSeconds"] is None else f" after {response['durationSeconds']:.3f} s"
    out.print(f"\n[{colour}]{shown(response['status'] or response['error'])}[/]{took}")
    if response["status"] and response["error"]:
        out.print(shown(response["error"]))
    for name, value in response["headers"].items():
        out.print(f"{shown(name)}: {shown(value)}")
    if response["body"]:
        out.print(shown(response["body"]))
    told = found | {} if response["outcome"] == "delivered" else {"variables if given up": found["onFailure"]}
    for kind in ("variables", "traits", "variables if given up"):
        for name, value in told.get(kind, {}).items():
            out.print(f"{kind}: {shown(name)} = {shown(_text(value))}")


def _text(value: Any) -> str:
    return "" if value is None else str(value)
