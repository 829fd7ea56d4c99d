"""Definitions as code: plan, apply, export, lint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionmap.cli.client import Client
from actionmap.cli.output import COULD_NOT_ASK, NO, YES, fail, out, print_findings, shown
from actionmap.errors import DefinitionError, Finding

if TYPE_CHECKING:
    from actionmap.catalog.documents import Document
    from actionmap.catalog.models import Definition

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the definitions.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what the folder does not hold.")]
_MARKS = {"create": "[green]+[/]", "delete": "[red]-[/]", "deactivate": "[red]~[/]", "archive": "[red]~[/]"}
_CHANGED = "[yellow]~[/]"
#: What people should know of an action beside its name.
_MEANS = {
    "version": "published: this takes over at once, the version before is kept",
    "draft": "what is published stays in force; this is kept beside it until it is published",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (plan, apply, export, lint):
        app.command()(command)


def _read(folder: Path) -> tuple[dict[str, Definition], dict[str, Document]]:
    from actionmap.catalog.documents import read_folder
    from actionmap.catalog.parse import parse_documents

    return parse_documents(read_folder(folder))


def _put(folder: Path, *, prune: bool, dry_run: bool) -> dict[str, Any]:
    """Send the folder's documents to the server, which checks them; findings come back with file and line."""
    from actionmap.catalog.documents import read_folder
    from actionmap.process import collector_paused

    # Of ten thousand definitions, the collector would go through all that is built, again and again.
    with collector_paused():
        return _sent(read_folder(folder), prune=prune, dryRun=dry_run)


def _sent(documents: list[Document], **params: bool) -> dict[str, Any]:
    body = {"definitions": [document.data for document in documents]}
    try:
        answer: dict[str, Any] = Client().put("/api/v1/definitions", body, **params)
    except DefinitionError as error:
        raise DefinitionError(_placed(error.findings, documents)) from None
    return answer


def _placed(findings: Sequence[Finding], documents: list[Document]) -> list[Finding]:
    """What the server says of ``documents``, with file and line.

    Raises:
        DefinitionError: some are no definitions, or say the same name twice, which they tell themselves, with places.
    """
    from actionmap.catalog.parse import located, parse_documents

    _, sources = parse_documents(documents)
    return located(findings, sources)


def _show(changes: list[dict[str, Any]], *, with_diff: bool) -> dict[str, int]:
    counts: dict[str, int] = {}
    for change in changes:
        counts[change["action"]] = counts.get(change["action"], 0) + 1
        if change["action"] == "unchanged":
            continue
        mark, means = _MARKS.get(change["action"], _CHANGED), _MEANS.get(change["action"], "")
        means = f"  [dim]({means})[/]" if means else ""
        out.print(f"{mark} {change['action']} {change['kind']} {shown(change['name'])}{means}")
        for line in change["diff"][2:] if with_diff else ():
            colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
            out.print(f"    [{colour}]{shown(line)}[/]")
    return counts


def plan(folder: Folder, prune: Prune = False) -> None:
    """Show what apply would change; exit code 1 when there is something to do."""
    answer = _put(folder, prune=prune, dry_run=True)
    counts = _show(answer["changes"], with_diff=True)
    pending = sum(number for action, number in counts.items() if action != "unchanged")
    out.print(
        f"{pending} to do, {counts.get('unchanged', 0)} unchanged; the server is at revision {answer['revision']}"
    )
    raise typer.Exit(NO if pending else YES)


def apply(folder: Folder, prune: Prune = False) -> None:
    """Make the server hold the folder's definitions, all or nothing; applying twice changes nothing more."""
    answer = _put(folder, prune=prune, dry_run=False)
    counts = _show(answer["changes"], with_diff=False)
    done = ", ".join(f"{number} {action}" for action, number in sorted(counts.items()))
    out.print(f"{done or 'nothing to do'}; the server is at revision {answer['revision']}")


def export(folder: Folder) -> None:
    """Write the server's definitions into a folder, one file per kind; secrets stay references."""
    from actionmap.cli import exported

    answer = Client().get("/api/v1/definitions")
    exported.write(answer["definitions"], folder)
    count, revision = len(answer["definitions"]), answer["revision"]
    out.print(f"{count} definitions of revision {revision} written to {shown(folder)}")


def lint(
    folder: Folder,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
) -> None:
    """Find what is wrong with the definitions in a folder; exit code 1 on errors."""
    from actionmap.catalog.lint import lint as lint_definitions
    from actionmap.catalog.parse import located
    from actionmap.process import collector_paused, wall_clock
    from actionmap.settings import load_settings

    if not folder.is_dir():
        fail(f"there is no folder {folder}")
        raise typer.Exit(COULD_NOT_ASK)
    settings = load_settings()
    try:
        with collector_paused():
            definitions, sources = _read(folder)
            found = lint_definitions(
                definitions,
                now=wall_clock(),
                allow_hosts=settings.egress_hosts,
                allow_networks=settings.egress_networks,
            )
            findings = located(found, sources)
    except DefinitionError as error:
        definitions, findings = {}, list(error.findings)
    print_findings(findings)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    out.print(f"{len(definitions)} definitions, {errors} errors, {warnings} warnings")
    raise typer.Exit(NO if errors or (strict and warnings) else YES)
