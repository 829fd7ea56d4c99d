"""The command that asks why: explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from actionmap.cli.client import Client
from actionmap.cli.output import YES, TextOrJson, fail, out, print_json, shown
from actionmap.errors import SettingsError

_NEAREST = 20
_MARK = {True: "[green]✓[/]", False: "[red]✗[/]"}


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(explain)


def explain(
    action_map: Annotated[
        str | None, typer.Option("--map", metavar="MAP", help="Action map; without it all active ones, nearest first.")
    ] = None,
    visitor: Annotated[
        str | None, typer.Option("--visitor", metavar="ID", help="Judge by the visitor as now and its latest event.")
    ] = None,
    event: Annotated[
        Path | None,
        typer.Option("--event", metavar="FILE", help="Judge by the last event of the file, the others before it."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="DIR", help="Ask of files instead of the server, with --event.")
    ] = None,
    format: TextOrJson = "text",  # noqa: A002 - the option is called so
) -> None:
    """Explain why an action map fired, or did not: each condition, the value seen, what was expected."""
    if (visitor is None) == (event is None):
        raise SettingsError("give either --visitor ID or --event FILE")
    if rules is not None and event is None:
        raise SettingsError("--rules asks of files, which know no visitors: give --event FILE with it")
    given = read_events(event) if event else []
    if rules is not None:
        from actionmap.cli.by_files import explained

        found = explained(rules, action_map, given)
    else:
        found = _by_server(action_map, visitor, given)
    if format == "json":
        print_json(found if action_map is None else found[0])
    elif action_map is None:
        _show_nearest(found)
    else:
        _show(found[0])
    raise typer.Exit(YES)


def read_events(path: Path) -> list[Any]:
    """The events in a file: one, a list of them, or one a line; as written.

    Raises:
        SettingsError: there are none that can be read.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    try:
        whole = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = _read_lines(path, text)
    else:
        events = whole if isinstance(whole, list) else [whole]
    if not events:
        raise SettingsError(f"{path} holds no event")
    return events


def _read_lines(path: Path, text: bytes) -> list[Any]:
    events = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                events.append(msgspec.json.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise SettingsError(f"{path}:{number}: no JSON: {error}") from None
    return events


def _by_server(action_map: str | None, visitor: str | None, events: list[Any]) -> list[dict[str, Any]]:
    path = f"/api/v1/action-maps/{quote(action_map, safe='')}/explain" if action_map else "/api/v1/explain"
    client = Client()
    answer = client.get(path, visitorId=visitor) if visitor is not None else client.post(path, {"events": events})
    return [answer] if isinstance(answer, dict) else answer


def _show_nearest(found: list[dict[str, Any]]) -> None:
    if not found:
        fail("there is no active action map that is judged there")
        return
    _show_event(found[0])
    for one in found[:_NEAREST]:
        verdict, short = one["verdict"], one["short"]
        fires = verdict["reason"] in ("fired", "shadow", "matched", "waiting")
        distance = "" if fires or not short else f", {short} short"
        out.print(f"{_MARK[fires]} [bold]{shown(one['actionMap'])}[/]: {_verdict(verdict)}{distance}")
        for step in [] if fires else _failing(one["trigger"]):
            out.print(f"    {shown(step['expected'])}; seen: {_seen(step)}")
    if len(found) > _NEAREST:
        out.print(f"[dim]… and {len(found) - _NEAREST:,} more that are further away[/]")


def _show(found: dict[str, Any]) -> None:
    _show_event(found)
    out.print(f"[bold]{shown(found['actionMap'])}[/]: {_verdict(found['verdict'])}")
    _show_step(found["trigger"], 1)
    out.print("  between a match and its firing")
    for check in found["checks"]:
        detail = f": {shown(check['detail'])}" if check["detail"] else ""
        out.print(f"    {_MARK[check['passed']]} {shown(check['name'])}{detail}")
    out.print("  what it would send")
    for one in found["lookups"]:
        source = f" ({shown(one['lookup'])})" if one["lookup"] else ""
        if one["missing"]:
            seen = "" if one["value"] is None else f"{_value(one['value'])} "
            out.print(
                f"    {shown(one['field'])}{source}: {seen}[yellow]{shown(one['missing'])}[/], so {one['onMissing']}"
            )
        else:
            out.print(f"    {shown(one['field'])}{source}: {_value(one['value'])}")


def _show_event(found: dict[str, Any]) -> None:
    out.print(f"[dim]{shown(found['eventName'])} of {shown(found['visitorId'])} at {shown(found['at'])}; judged by "
              f"{shown(found['basis'])}[/]")  # fmt: skip


def _verdict(verdict: dict[str, Any]) -> str:
    detail = f" ({shown(verdict['detail'])})" if verdict["detail"] else ""
    return f"{shown(verdict['reason'])}{detail}"


def _show_step(step: dict[str, Any], depth: int) -> None:
    seen = "" if "parts" in step else f"; seen: {_seen(step)}"
    out.print(f"{'  ' * depth}{_MARK[step['passed']]} {shown(step['expected'])}{seen}")
    for part in step.get("parts", ()):
        _show_step(part, depth + 1)


def _failing(step: dict[str, Any]) -> list[dict[str, Any]]:
    """The leaves that keep ``step`` from holding."""
    if step["passed"]:
        return []
    if step["kind"] in ("all", "any", "event"):
        return [leaf for part in step["parts"] for leaf in _failing(part)]
    return [step]


def _seen(step: dict[str, Any]) -> str:
    return "it holds" if "parts" in step else _value(step["seen"])


def _value(value: Any) -> str:
    return "[dim]missing[/]" if value is None else shown(msgspec.json.encode(value).decode())
