"""Commands about integrations: how they are doing, pause, resume, test."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from actionmap.cli.client import Client
from actionmap.cli.output import NO, YES, out, print_json, shown

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the integration.")]


def add_to(app: typer.Typer) -> None:
    """Add the group ``integrations`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="How integrations are doing; pause, resume and test them.")
    group.callback()(lambda: None)
    group.command("list")(list_integrations)
    group.command()(pause)
    group.command()(resume)
    group.command()(test)
    app.add_typer(group, name="integrations")


def list_integrations(
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="Output for people or for programs.")] = (
        "text"
    ),
) -> None:
    """Show which integrations are held, fail or need a look."""
    found = Client().get("/api/v1/integration-states")
    if form == "json":
        print_json(found)
    else:
        for row in found:
            out.print(words(row))


def words(row: dict[str, Any]) -> str:
    """One integration's reported state in a line, and what else was noted of it, as rich markup."""
    is_ = row["reportedState"]
    colour = "red" if is_["state"] == "error" else "default"
    said = [f"[{colour}]{shown(is_['state'])}[/]{_since(is_['since'])}{_in_brackets(is_['detail'])}"]
    if not row["active"] or row["held"]:
        said.append("its deliveries are held")
    # The state tells one thing, the first that matters.
    if row["held"] and not row["active"]:
        said.append(f"{shown(row['held'])}{_since(row['heldSince'])}{_in_brackets(row['reason'])}")
    if row["failingSince"] and row["failingSince"] != is_["since"]:
        said.append(f"failing{_since(row['failingSince'])}{_in_brackets(row['lastError'])}")
    said += [f"breaker {shown(state)} in {shown(worker)}" for worker, state in row["breakers"].items()]
    if row["warning"]:
        said.append(f"[yellow]warning:[/] {shown(row['warning'])}")
    return f"[bold]{shown(row['name'])}[/]: {'; '.join(said)}"


def _since(time: str | None) -> str:
    return f" since {shown(time)}" if time else ""


def _in_brackets(text: str | None) -> str:
    return f" ({shown(text)})" if text else ""


def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for those who look at it.")] = "",
) -> None:
    """Hold the deliveries of an integration; action maps go on firing, and what they owe waits."""
    Client().post(f"/api/v1/integrations/{quote(name, safe='')}/pause", {"reason": reason})
    out.print(f"{shown(name)} is paused: its deliveries wait, each up to its webhook's maxAge; go on with: "
              f"actionmap integrations resume {shown(name)}")  # fmt: skip


def resume(name: Name) -> None:
    """Let the deliveries of an integration go out again, after a pause or after it was disabled."""
    Client().post(f"/api/v1/integrations/{quote(name, safe='')}/resume", {})
    out.print(f"{shown(name)} is resumed: what waits goes out within minutes")


def test(name: Name) -> None:
    """Let the server connect to an integration, sending it no request; exit code 1 when it cannot be reached."""
    found = Client().post(f"/api/v1/integrations/{quote(name, safe='')}/test", {})
    out.print(words(found))
    raise typer.Exit(NO if found["reportedState"]["state"] == "error" else YES)
