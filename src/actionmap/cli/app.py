"""The command line: one Typer application of all commands; the module of a command is imported when it is asked."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from actionmap import __version__
from actionmap.cli.output import COULD_NOT_ASK, fail
from actionmap.errors import ActionmapError

#: Command or group → the module in this package that adds it, and its help as the list of commands begins it.
COMMANDS = {
    "demo": ("running", "Run the main job on embedded parts with sample events, show what fires and why, then stop."),
    "dev": ("running", "Run the same embedded stack until Ctrl-C: collector, engine and admin on loopback."),
    "run": ("running", "Evaluate events and deliver webhooks, against real Kafka and Redis."),
    "serve": ("running", "Serve collector and admin REST, against real Kafka and Redis."),
    "send": ("sending", "Stream events into Kafka; bad lines are told by number and left out, the good ones are sent."),
    "plan": ("definitions", "Show what apply would change; exit code 1 when there is something to do."),
    "apply": (
        "definitions",
        "Make the server hold the folder's definitions, all or nothing; applying twice changes nothing more.",
    ),
    "export": (
        "definitions",
        "Write the server's definitions into a folder, one file per kind; secrets stay references.",
    ),
    "lint": ("definitions", "Find what is wrong with the definitions in a folder; exit code 1 on errors."),
    "simulate": ("simulating", "Show what would fire over recorded events, in event time, sending nothing."),
    "test": (
        "simulating",
        "Run the test cases (*.cases.yaml) beside the definitions; exit code 1 when one fails.",
    ),
    "explain": (
        "explaining",
        "Explain why an action map fired, or did not: each condition, the value seen, what was expected.",
    ),
    "check-golive": ("questions", "Check whether action maps would really fire; exit code 1 when one is not ready."),
    "openapi": ("running", "Print the OpenAPI document of collector and admin REST."),
    "status": (
        "operating",
        "Show health, fences and outbox of the connected server; exit code 1 when something is wrong.",
    ),
    "webhooks": ("webhooks", "Webhooks, tried out."),
    "deliveries": ("deliveries", "Deliveries that are owed, dead, or accepted of late."),
    "dead-letters": ("deliveries", "Records never understood and deliveries given up."),
    "integrations": ("integrations", "How integrations are doing; pause, resume and test them."),
    "keys": ("keys", "API keys of the server: make, list and revoke them."),
    "partitions": ("operating", "Partitions of the events topic."),
    "secrets": ("operating", "Secrets that are written out in definitions and stored encrypted."),
    "import": ("importing", "Definitions of other systems, taken over."),
}


def loaded(name: str) -> Any:
    """The command or group ``name``, one of `COMMANDS`, from its module."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    import_module(f"actionmap.cli.{COMMANDS[name][0]}").add_to(alone)
    return get_group(alone).commands[name]


class _Loading(TyperGroup):
    """Knows the name and help of each command; imports it, and what it works with, when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, loaded(name) if name else command, rest


app = typer.Typer(
    name="actionmap",
    cls=_Loading,
    help="Watches what visitors do on a website and fires the right webhook at the right moment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, (_, _help) in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"actionmap {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Watches what visitors do on a website and fires the right webhook at the right moment."""


def main() -> None:
    """Run the command line; an error of ours is one message, never a traceback."""
    try:
        app()
    except ActionmapError as error:
        fail(str(error))
        sys.exit(COULD_NOT_ASK)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(COULD_NOT_ASK)
    except KeyboardInterrupt:
        sys.exit(130)
