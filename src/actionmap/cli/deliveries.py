"""Commands that look at deliveries and dead letters, and bring them back: deliveries, dead-letters."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from actionmap.cli.client import Client
from actionmap.cli.output import (
    NO,
    YES,
    TextOrJson,
    TextOrLines,
    err,
    fail,
    note,
    out,
    print_json,
    print_json_lines,
    print_table,
    shown,
)
from actionmap.errors import SettingsError

Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at the most.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]
IntegrationName = Annotated[str | None, typer.Option("--integration", metavar="NAME", help="Only those of it.")]
WebhookName = Annotated[str | None, typer.Option("--webhook", metavar="NAME", help="Only those of it.")]
MapName = Annotated[str | None, typer.Option("--map", metavar="MAP", help="Only those of this action map.")]
VisitorId = Annotated[str | None, typer.Option("--visitor", metavar="ID", help="Only those of this visitor.")]
#: Ids in one request, and dead letters that are asked for at once.
_AT_ONCE, _AT_MOST = 50, 1000
#: Seconds after which is asked again whether the receiver has taken enough for more.
_AGAIN_S = 1.0


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    groups: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
        ("deliveries", "Deliveries that are owed, dead, or accepted of late.",
         {"list": list_deliveries, "show": show_delivery, "replay": replay_deliveries}),
        ("dead-letters", "Records never understood and deliveries given up.",
         {"list": list_dead_letters, "show": show_dead_letter, "replay": replay_dead_letters}),
    )  # fmt: skip
    for name, help_, commands in groups:
        group = typer.Typer(no_args_is_help=True, help=help_)
        for word, command in commands.items():
            group.command(word)(command)
        app.add_typer(group, name=name)


def list_deliveries(
    state: Annotated[
        Literal["owed", "waiting", "retrying", "dead", "delivered"] | None,
        typer.Option(help="Only those; waiting: for another delivery of the visitor."),
    ] = None,
    integration: IntegrationName = None,
    webhook: WebhookName = None,
    action_map: MapName = None,
    visitor: VisitorId = None,
    limit: Limit = 100,
    format: TextOrLines = "text",  # noqa: A002 - the option is called so
) -> None:
    """List deliveries, newest first: owed, dead, and the newest of those that were accepted."""
    asked = _filter(integration, webhook, action_map, visitor) | ({"state": state} if state else {})
    rows = Client().get("/api/v1/deliveries", limit=limit, **asked)["items"]
    if format == "jsonl":
        print_json_lines(rows)
        return
    for row in rows:
        error = f": {row['error']}" if row["error"] else ""
        out.print(
            f"{shown(row['id'])} [bold]{shown(row['state'])}[/] {shown(row['actionMap'])} "
            f"for {shown(row['visitorId'])} {row['attempts']} attempts{shown(error)}"
        )
    out.print(f"{len(rows)} deliveries")


def _filter(
    integration: str | None, webhook: str | None, action_map: str | None, visitor: str | None
) -> dict[str, str]:
    given = {"integration": integration, "webhook": webhook, "actionMap": action_map, "visitorId": visitor}
    return {name: value for name, value in given.items() if value is not None}


def show_delivery(id_: Id, format: TextOrJson = "text") -> None:  # noqa: A002
    """Show one delivery: its request, its state, and each of its attempts; secrets are masked."""
    row = Client().get(f"/api/v1/deliveries/{quote(id_, safe='')}")
    if format == "json":
        print_json(row)
        return
    request = row["request"]
    out.print(f"{shown(row['id'])} [bold]{shown(row['state'])}[/], {row['attempts']} attempts")
    out.print(
        f"{shown(row['actionMap'])} for {shown(row['visitorId'])}, event {shown(row['eventId'])} at {shown(row['at'])}"
    )
    out.print(f"{shown(request['method'])} {shown(request['url'])}")
    for name, value in request["headers"].items():
        out.print(f"{shown(name)}: {shown(value)}")
    if request["body"] is not None:
        out.print(shown(request["body"]))
    _show_attempts(row["log"])


def _show_attempts(log: list[dict[str, Any]]) -> None:
    rows = [
        (
            shown(one["at"]), shown(one["outcome"]), str(one["status"] or "-"), f"{one['durationSeconds']:.3f}",
            f"{one['requestBytes']:,} B", f"{one['responseBytes']:,} B", shown(one["error"] or ""),
            shown(one["nextTryAt"] or ""),
        )
        for one in log
    ]  # fmt: skip
    if rows:
        print_table(("at", "outcome", "status", "seconds", "sent", "received", "error", "next try"), rows)
    for number, one in enumerate(log, 1):
        for body in ("requestBody", "responseBody"):
            if one.get(body) is not None:
                out.print(f"[bold]{body} of attempt {number}:[/] {shown(one[body])}")


def list_dead_letters(
    limit: Limit = 100,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    format: TextOrLines = "text",  # noqa: A002
) -> None:
    """List dead letters, newest first, each with its reason."""
    rows = _letters(Client(), limit, reason)
    if format == "jsonl":
        print_json_lines(rows)
        return
    for row in rows:
        out.print(f"{shown(row['at'])} {shown(row['id'])} [bold]{shown(row['reason'])}[/]: {shown(row['detail'])}")
    out.print(f"{len(rows)} dead letters")


def show_dead_letter(id_: Id) -> None:
    """Show one dead letter as JSON: why, when, and what is kept of the record or the delivery."""
    print_json(Client().get(f"/api/v1/dead-letters/{quote(id_, safe='/')}"))


def replay_deliveries(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of dead deliveries.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All dead ones, or those that the other options leave.")] = False,
    integration: IntegrationName = None,
    webhook: WebhookName = None,
    action_map: MapName = None,
    visitor: VisitorId = None,
    per_second: Annotated[
        float, typer.Option(min=0.01, max=100_000, help="With --all: so many of them are due each second.")
    ] = 50,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask first.")] = False,
) -> None:
    """Owe dead deliveries again, with the same ids and bodies and all their attempts.

    With --all they become due one after the other, and no more of them are owed at a time than leave room for new
    events. What was never rendered stays dead, what dies meanwhile, and what is not owed again yet when it is
    interrupted.
    """
    asked = _filter(integration, webhook, action_map, visitor)
    if bool(ids) == all_ or (ids and asked):
        raise SettingsError("say which: ids, or --all, which --integration and the like narrow down")
    if ids:
        _replay(Client(), ids)
    _replay_all(Client(), asked, per_second, yes=yes)


def _replay_all(client: Client, asked: dict[str, str], per_second: float, *, yes: bool) -> None:
    counted = client.post("/api/v1/deliveries/replay", {**asked, "dryRun": True})
    found, stay = counted["found"], counted["neverRendered"]
    if stay:
        note(f"{stay:,} stay dead: they were never rendered; mend the rules and send their events again")
    out.print(f"{found:,} dead deliveries, {per_second:g} a second: {_duration(found / per_second)}")
    if found and not yes:
        typer.confirm("owe them again?", abort=True, err=True)
    replayed = 0
    body: dict[str, Any] = {**asked, "perSecond": per_second}
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("replaying", total=found)
        more = found > 0
        while more:
            step = client.post("/api/v1/deliveries/replay", body)
            replayed += step["replayed"]
            progress.update(task, completed=replayed)
            body |= {"dueFrom": step["dueFrom"], "after": step["after"]}
            more = step["after"] is not None
            if step["waits"]:
                time.sleep(_AGAIN_S)
    out.print(f"{replayed:,} owed again")
    raise typer.Exit(YES)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def replay_dead_letters(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of dead letters.")] = None,
    reason: Annotated[str | None, typer.Option(help="All with this reason, at most 1,000.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, at most 1,000.")] = False,
) -> None:
    """Bring dead letters back: a record goes into the topic again, a delivery into the outbox.

    A record that is still none becomes a dead letter again. Exit code 1 when one could not be replayed.
    """
    if sum((bool(ids), reason is not None, all_)) != 1:
        raise SettingsError("say which: ids, or --reason REASON, or --all")
    client = Client()
    # The oldest first, so that a visitor's events come back in their order.
    found = ids or [row["id"] for row in reversed(_letters(client, _AT_MOST, reason))]
    if len(found) == _AT_MOST and not ids:
        note(f"the newest {_AT_MOST:,} are replayed; ask again for the others")
    _replay(client, found)


def _letters(client: Client, limit: int, reason: str | None) -> list[dict[str, Any]]:
    asked = {"limit": limit} | ({"reason": reason} if reason else {})
    rows: list[dict[str, Any]] = client.get("/api/v1/dead-letters", **asked)["items"]
    return rows


def _replay(client: Client, ids: list[str]) -> None:
    refused = 0
    parts = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
    for part in track(parts, "replaying", console=err, transient=True, disable=len(parts) < 2 or not err.is_terminal):
        for row in client.post("/api/v1/dead-letters/replay", {"ids": part})["items"]:
            if not row["replayed"]:
                refused += 1
                fail(f"{row['id']}: {row['detail']}")
    out.print(f"{len(ids) - refused} of {len(ids)} replayed")
    raise typer.Exit(NO if refused else YES)
