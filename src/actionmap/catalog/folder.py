"""A folder of definitions, read and checked as one set."""

from __future__ import annotations

from pathlib import Path

from actionmap.catalog.compile import compile_rulebook
from actionmap.catalog.documents import read_folder
from actionmap.catalog.parse import Definitions, located, parse_documents
from actionmap.errors import DefinitionError


def read_rules(folder: Path, *, may_be_empty: bool = False) -> Definitions:
    """The definitions in ``folder``, checked.

    Raises:
        DefinitionError: some are wrong, each finding with file and line; or there are none, unless it may be empty.
    """
    definitions, sources = parse_documents(read_folder(folder, may_be_empty=may_be_empty))
    try:
        compile_rulebook(definitions)
    except DefinitionError as error:
        raise DefinitionError(located(error.findings, sources)) from None
    return definitions
