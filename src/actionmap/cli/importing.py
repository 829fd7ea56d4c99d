"""The command that takes definitions over from elsewhere: import genesys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionmap.cli.output import NO, YES, TextOrJson, note, out, print_findings, print_json, shown
from actionmap.errors import SettingsError

if TYPE_CHECKING:
    from actionmap.genesys import Imported, Report
    from actionmap.genesys.report import Outcome

_COLOURS = {"imported": "green", "decide": "yellow", "notImported": "red"}


def add_to(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Definitions of other systems, taken over.")
    group.callback()(lambda: None)
    group.command("genesys")(import_genesys)
    app.add_typer(group, name="import")


def import_genesys(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="Terraform (*.tf, *.tf.json), exported data actions (*.json), folders."),
    ],
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write to; nothing in it is overwritten.")
    ],
    format: TextOrJson = "text",  # noqa: A002 - the option is called so
) -> None:
    """Make definitions of a Genesys tenant's action maps, segments and data actions, and report what became of each.

    What needs a decision is written as a draft or inactive. Exit code 1 when something was not imported,
    2 when a file could not be read.
    """
    from actionmap.genesys import import_tenant, read
    from actionmap.process import wall_clock
    from actionmap.settings import load_settings

    settings = load_settings()
    imported = import_tenant(
        read(paths), now=wall_clock(), allow_hosts=settings.egress_hosts, allow_networks=settings.egress_networks
    )
    written = _write(imported, folder)
    if format == "json":
        print_json({**imported.report.as_json(), "written": [str(path) for path in written]})
    else:
        _print(imported.report, written)
    raise typer.Exit(YES if imported.report.complete else NO)


def _write(imported: Imported, folder: Path) -> list[Path]:
    """Write one file for each kind; all of them, or none where one is there already."""
    from actionmap.catalog.models import PLURALS
    from actionmap.catalog.plan import to_yaml

    texts: dict[Path, list[str]] = {}
    for kind, plural in PLURALS.items():
        for definition, decisions in imported.definitions:
            if definition.kind_name == kind:
                said = [f"# Decide: {one.path + ': ' if one.path else ''}{one.todo}" for one in decisions]
                comments = "".join(f"{' '.join(line.split())}\n" for line in said)
                texts.setdefault(folder / f"{plural}.yaml", []).append(comments + to_yaml(definition))
    if there := [path.name for path in texts if path.exists()]:
        raise SettingsError(
            f"{folder} holds {', '.join(there)} already, and nothing is overwritten; name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, documents in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write("---\n".join(documents))
    return list(texts)


def _print(report: Report, written: list[Path]) -> None:
    for outcome in report.outcomes:
        _print_outcome(outcome)
    print_findings(report.findings)
    statuses = [outcome.status for outcome in report.outcomes]
    for type_, number in sorted(report.others.items()):
        note(f"{number} {type_} left aside: no part of action maps, segments or data actions")
    out.print(
        f"{statuses.count('imported')} imported, {statuses.count('decide')} imported with something to decide, "
        f"{statuses.count('notImported')} not imported; written: {shown(', '.join(map(str, written)) or 'nothing')}"
    )


def _print_outcome(outcome: Outcome) -> None:
    resource = outcome.resource
    word = (
        f"not imported: {outcome.reason}"
        if outcome.reason
        else "imported, decide:"
        if outcome.decisions
        else "imported"
    )
    colour = _COLOURS[outcome.status]
    out.print(
        f"{shown(resource.file)}: {shown(f'{resource.type} {resource.label}'.strip())}: [{colour}]{shown(word)}[/]"
    )
    for made in outcome.definitions:
        out.print(f"  {shown(made)}")
        for decision in (one for one in outcome.decisions if one.definition == made):
            out.print(f"    [yellow]decide[/] {shown(': '.join(filter(None, (decision.path, decision.todo))))}")
    for line in outcome.notes:
        out.print(f"  note: {shown(line)}")
