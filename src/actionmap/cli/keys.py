"""Commands about API keys: made, listed, revoked."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from actionmap.cli.client import Client
from actionmap.cli.output import note, out, print_json, shown

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key, as the audit shows it.")]
Form = Annotated[Literal["text", "json"], typer.Option("--format", help="Output for people or for programs.")]


def add_to(app: typer.Typer) -> None:
    """Add the group ``keys`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="API keys of the server: make, list and revoke them.")
    group.callback()(lambda: None)
    group.command()(create)
    group.command("list")(list_keys)
    group.command()(revoke)
    app.add_typer(group, name="keys")


def create(
    name: Name,
    rights: Annotated[str, typer.Option("--rights", help="Of ingest, read, edit and publish, joined by +.")] = "read",
    company: Annotated[
        str | None, typer.Option("--company", help="See and change the definitions of this company alone.")
    ] = None,
    form: Form = "text",
) -> None:
    """Make an API key, and print it once: the server keeps its hash alone."""
    made = Client().post("/api/v1/api-keys", {"name": name, "rights": rights.split("+"), "company": company})
    if form == "json":
        print_json(made)
        return
    note(f"{_words(made)}. This is the only time that it is shown:")
    # As it is: to be piped into a store of secrets.
    typer.echo(made["key"])


def list_keys(form: Form = "text") -> None:
    """List the keys that were made, without those of the server's settings."""
    found = Client().get("/api/v1/api-keys")["items"]
    if form == "json":
        print_json(found)
    else:
        for row in found:
            out.print(shown(_words(row)))


def revoke(name: Name) -> None:
    """Refuse a key from now on."""
    Client().delete(f"/api/v1/api-keys/{quote(name, safe='')}")
    out.print(f"{shown(name)} is revoked")


def _words(row: dict[str, Any]) -> str:
    whose = f"of {row['company']}" if row["company"] else "of all companies"
    return f"{row['name']}: may {', '.join(row['rights'])} the definitions {whose}; made {row['createdAt']}"
