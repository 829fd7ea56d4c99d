"""An export: the server's definitions, written into a folder, one file per kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actionmap.catalog.documents import Document, definition_files, read_documents
from actionmap.catalog.models import PLURALS, Definition
from actionmap.catalog.parse import parse_definition
from actionmap.catalog.plan import to_yaml_documents
from actionmap.cli.output import note
from actionmap.errors import SettingsError

#: By it an export knows the files of a former one.
_FIRST_LINE = "# Written by actionmap export, which writes over it.\n"


def write(definitions: list[dict[str, Any]], folder: Path) -> None:
    """Write ``definitions`` into ``folder``; of a former export, what is no more is deleted.

    Raises:
        SettingsError: a file in the folder, which an export did not write, would be overwritten or say the same again.
    """
    by_kind: dict[str, list[Definition]] = {}
    for data in definitions:
        definition = parse_definition(Document(data=data))
        by_kind.setdefault(definition.kind_name, []).append(definition)
    strangers = [path for path in definition_files(folder) if not _is_ours(path, folder)]
    _refuse_twice(definitions, strangers, folder)
    if strangers:
        note(f"{folder} also holds {_names(strangers, folder)}, which stay as they are")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, plural in PLURALS.items():
        path = folder / f"{plural}.yaml"
        if kind in by_kind:
            path.write_text(_FIRST_LINE + to_yaml_documents(by_kind[kind]), encoding="utf-8")
        elif path not in strangers:
            path.unlink(missing_ok=True)


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
