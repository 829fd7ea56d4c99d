"""Commands for who runs it: status, partitions, secrets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from actionmap.cli.client import Client
from actionmap.cli.integrations import words
from actionmap.cli.output import NO, YES, out, shown


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(status)
    groups: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("partitions", "Partitions of the events topic.", {"resume": resume}),
        ("secrets", "Secrets that are written out in definitions and stored encrypted.",
         {"key": make_key, "rotate": rotate_secrets}),
    )  # fmt: skip
    for name, help_, commands in groups:
        group = typer.Typer(no_args_is_help=True, help=help_)
        group.callback()(lambda: None)
        for word, command in commands.items():
            group.command(word)(command)
        app.add_typer(group, name=name)


def make_key() -> None:
    """Print a new random key for ACTIONMAP_SECRETS_KEY; nothing is stored."""
    from actionmap.vault import new_key

    out.print(new_key())


def rotate_secrets() -> None:
    """Encrypt every stored secret with the server's first key, so that older ones may be taken out."""
    answer = Client().post("/api/v1/secrets/rotate", {})
    out.print(f"{answer['integrations']} integrations encrypted anew; the server is at revision {answer['revision']}")


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
    for row in found["integrations"]:
        is_in_error = row["reportedState"]["state"] == "error"
        if not row["active"] or row["held"] or is_in_error or row["failingSince"] or row["breakers"] or row["warning"]:
            out.print(f"integration {words(row)}")
    raise typer.Exit(NO if found["problems"] or found.get("missingGuarantees") else YES)


def resume(
    partition: Annotated[int, typer.Argument(metavar="N", help="Number of the halted partition.")],
    policy: Annotated[
        Literal["continue", "rebuild"],
        typer.Option(
            help="continue: keep the visitors and leave out what cannot be had. rebuild: forget the partition's "
            "visitors, with what answers have taught of them, and evaluate its log again from the beginning; webhooks "
            "sent long ago may be sent again, with the same ids."
        ),
    ],
) -> None:
    """Tell a halted partition how to go on; its worker does so within seconds."""
    Client().post(f"/api/v1/partitions/{partition}/resume", {"policy": policy})
    out.print(f"partition {partition} is told to {policy}; see: actionmap status")
