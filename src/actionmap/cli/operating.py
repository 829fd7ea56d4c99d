"""Commands for who runs it: status, partitions, deliveries, dead-letters."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.progress import track

from actionmap.cli.client import Client
from actionmap.cli.output import NO, YES, err, fail, note, out, print_json, print_json_lines, shown
from actionmap.errors import SettingsError

TextOrLines = Annotated[Literal["text", "jsonl"], typer.Option("--format", help="Output for people or for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at the most.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]
#: Ids in one request, and dead letters that are asked for at once.
_AT_ONCE, _AT_MOST = 50, 1000


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(status)
    groups: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("partitions", "Partitions of the events topic.", {"resume": resume}),
        ("deliveries", "Deliveries that are owed or dead.",
         {"list": list_deliveries, "show": show_delivery, "replay": replay_deliveries}),
        ("dead-letters", "Records never understood and deliveries given up.",
         {"list": list_dead_letters, "show": show_dead_letter, "replay": replay_dead_letters}),
    )  # fmt: skip
    for name, help_, commands in groups:
        group = typer.Typer(no_args_is_help=True, help=help_)
        group.callback()(lambda: None)
        for word, command in commands.items():
            group.command(word)(command)
        app.add_typer(group, name=name)


def status() -> None:
    """Show health, fences and outbox of the connected server; exit code 1 when something is wrong."""
    found = Client().get("/api/v1/status")
    out.print(
        f"[bold]{shown(found['status'])}[/]: revision {found['revision']}, {found['activeMaps']} active action maps"
    )
    out.print(f"store: {shown(found['durability'])}")
    for problem in found["problems"]:
        out.print(f"[red]problem:[/] {shown(problem)}")
    for row in found["partitions"]:
        parked = sum(row.get("parkedByIntegration", {}).values())
        state = f"[red]halted ({shown(row['halted']['reason'])})[/], " if row.get("halted") else ""
        out.print(
            f"partition {row['partition']}: {state}evaluated up to offset {row['offset']}, lag {row.get('lag')}, "
            f"stream time {row['streamTime']}, {row['outbox']} deliveries owed, "
            f"{parked} parked, owner {shown(row['owner'])}"
        )
    raise typer.Exit(NO if found["problems"] or found.get("missingGuarantees") else YES)


def resume(
    partition: Annotated[int, typer.Argument(metavar="N", help="Number of the halted partition.")],
    policy: Annotated[
        Literal["continue", "rebuild"],
        typer.Option(
            help="continue: keep the visitors and leave out what cannot be had. rebuild: forget the partition's "
            "visitors and evaluate its log again from the beginning; webhooks sent long ago may be sent again, "
            "with the same ids."
        ),
    ],
) -> None:
    """Tell a halted partition how to go on; its worker does so within seconds."""
    Client().post(f"/api/v1/partitions/{partition}/resume", {"policy": policy})
    out.print(f"partition {partition} is told to {policy}; see: actionmap status")


def list_deliveries(limit: Limit = 100, format: TextOrLines = "text") -> None:  # noqa: A002
    """List deliveries that are owed or dead; those that were accepted are not kept."""
    rows = Client().get("/api/v1/deliveries", limit=limit)["items"]
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


def show_delivery(id_: Id) -> None:
    """Show one delivery as JSON: request, state, attempts and last error; secrets are masked."""
    print_json(Client().get(f"/api/v1/deliveries/{quote(id_, safe='')}"))


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
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of dead deliveries.")],
) -> None:
    """Owe dead deliveries again, with the same ids and bodies and all their attempts."""
    _replay(Client(), ids)


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
