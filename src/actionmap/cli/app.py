"""The command line: one Typer application of all commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from actionmap import __version__
from actionmap.cli import (
    definitions,
    deliveries,
    explaining,
    importing,
    integrations,
    keys,
    operating,
    questions,
    running,
    sending,
    simulating,
    webhooks,
)
from actionmap.cli.output import COULD_NOT_ASK, fail
from actionmap.errors import ActionmapError

app = typer.Typer(
    name="actionmap",
    help="Watches what visitors do on a website and fires the right webhook at the right moment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (
    running, sending, definitions, simulating, explaining, questions, webhooks, deliveries, integrations, keys,
    operating, importing,
):  # fmt: skip
    commands.add_to(app)


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
