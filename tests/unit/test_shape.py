"""The shape of the code: small files, short functions, names that say something."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "actionmap"
MODULES = sorted(SOURCE.rglob("*.py"))
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "managers", "services", "service"}
#: What all definitions share; `models` is the word before it.
ALLOWED = {"catalog/models/base.py"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {name(module): ast.parse(module.read_text()) for module in MODULES}


def test_there_is_something_to_look_at():
    assert len(MODULES) > 50


def test_no_file_is_longer_than_400_lines():
    lengths = {name(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_no_function_is_longer_than_60_lines(trees):
    lengths = {
        f"{path}:{node.name}": node.end_lineno - node.lineno + 1
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    }
    assert {function: lines for function, lines in lengths.items() if lines > 60} == {}


def test_no_file_or_folder_has_a_name_that_says_nothing():
    named = {path for path in map(name, MODULES) if BANNED & set(Path(path).with_suffix("").parts)}
    assert named <= ALLOWED


def test_every_module_says_what_it_is(trees):
    assert [path for path, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_every_public_name_says_what_it_is(trees):
    silent = [
        f"{path}:{node.name}"
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, (*FUNCTIONS, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_steps_of_the_way_do_not_import_each_other(trees):
    steps = {"collect", "consume", "decide", "deliver"}
    crossed = [
        (path, node.module)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and path.split("/")[0] in steps
        for parts in [node.module.split(".")]
        if parts[0] == "actionmap" and len(parts) > 1 and parts[1] in steps - {path.split("/")[0]}
    ]
    assert crossed == []
