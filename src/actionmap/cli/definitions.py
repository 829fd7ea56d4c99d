"""Definitions as code: plan, apply, export, lint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from actionmap.admin.definitions import PLURALS
from actionmap.catalog.documents import Document, definition_files, read_documents, read_folder
from actionmap.catalog.lint import lint as lint_definitions
from actionmap.catalog.models import Definition
from actionmap.catalog.parse import located, parse_definition, parse_documents
from actionmap.catalog.plan import to_yaml_documents
from actionmap.cli.client import Client
from actionmap.cli.output import COULD_NOT_ASK, NO, YES, fail, note, out, print_findings, shown
from actionmap.errors import DefinitionError, SettingsError
from actionmap.process import collector_paused, wall_clock
from actionmap.settings import load_settings

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the definitions.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what the folder does not hold.")]
_MARKS = {"create": "[green]+[/]", "delete": "[red]-[/]", "deactivate": "[red]~[/]", "archive": "[red]~[/]"}
_CHANGED = "[yellow]~[/]"
#: What people should know of an action beside its name.
_MEANS = {
    "version": "published: this takes over at once, the version before is kept",
    "draft": "what is published stays in force; this is kept beside it until it is published",
}

#: By it an export knows the files of a former one.
_FIRST_LINE = "# Written by actionmap export, which writes over it.\n"


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (plan, apply, export, lint):
        app.command()(command)


def _read(folder: Path) -> tuple[dict[str, Definition], dict[str, Document]]:
    # Of ten thousand definitions, the collector would go through all that is built, again and again.
    with collector_paused():
        return parse_documents(read_folder(folder))


def _put(folder: Path, *, prune: bool, dry_run: bool) -> dict[str, Any]:
    """Send the folder's definitions to the server; findings come back with file and line."""
    definitions, sources = _read(folder)
    body = {"definitions": [{"kind": some.kind_name, **some.as_stored()} for some in definitions.values()]}
    try:
        answer: dict[str, Any] = Client().put("/api/v1/definitions", body, prune=prune, dryRun=dry_run)
    except DefinitionError as error:
        raise DefinitionError(located(error.findings, sources)) from None
    return answer


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
    answer = Client().get("/api/v1/definitions")
    by_kind: dict[str, list[Definition]] = {}
    for data in answer["definitions"]:
        definition = parse_definition(Document(data=data))
        by_kind.setdefault(definition.kind_name, []).append(definition)
    strangers = [path for path in definition_files(folder) if not _is_ours(path, folder)]
    _refuse_twice(answer["definitions"], strangers, folder)
    if strangers:
        note(f"{folder} also holds {_names(strangers, folder)}, which stay as they are")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, plural in PLURALS.items():
        path = folder / f"{plural}.yaml"
        if kind in by_kind:
            path.write_text(_FIRST_LINE + to_yaml_documents(by_kind[kind]), encoding="utf-8")
        elif path not in strangers:
            path.unlink(missing_ok=True)
    count, revision = len(answer["definitions"]), answer["revision"]
    out.print(f"{count} definitions of revision {revision} written to {shown(folder)}")


def _is_ours(path: Path, folder: Path) -> bool:
    """Whether an export wrote the file, so that the next one may write over it."""
    if path.parent != folder or path.name not in {f"{plural}.yaml" for plural in PLURALS.values()}:
        return False
    with path.open("rb") as file:
        return file.readline() == _FIRST_LINE.encode()


def _refuse_twice(written: list[dict[str, Any]], strangers: list[Path], folder: Path) -> None:
    """Refuse to write what a file that stays holds too, and to write over a file that an export did not write."""
    keys = {(data["kind"], data["name"]) for data in written}
    targets = {folder / f"{PLURALS[kind]}.yaml" for kind, _ in keys}
    clashes = [path for path in strangers if path in targets or keys & _keys_in(path)]
    if clashes:
        raise SettingsError(
            f"{_names(clashes, folder)} in {folder} would stay beside the export and define the same once more, or be "
            "overwritten; export into another folder, or move them away"
        )


def _keys_in(path: Path) -> set[tuple[str, str]]:
    documents = read_documents(path.read_text(encoding="utf-8", errors="replace"), str(path))
    found = [document.data for document in documents if isinstance(document.data, dict)]
    return {(str(data.get("kind")), str(data.get("name"))) for data in found}


def _names(paths: list[Path], folder: Path) -> str:
    return ", ".join(str(path.relative_to(folder)) for path in paths)


def lint(
    folder: Folder,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
) -> None:
    """Find what is wrong with the definitions in a folder; exit code 1 on errors."""
    if not folder.is_dir():
        fail(f"there is no folder {folder}")
        raise typer.Exit(COULD_NOT_ASK)
    settings = load_settings()
    try:
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
