"""YAML as 1.2, with the line of every value; what is no plain document is refused with its place."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actionmap.catalog.documents import MAX_DEPTH, MAX_FILE_BYTES, read_documents, read_folder
from actionmap.errors import DefinitionError, Finding


def value(text: str) -> object:
    [document] = read_documents(f"a: {text}")
    return document.data["a"]


def refused(text: str, file: str = "rules.yaml") -> Finding:
    with pytest.raises(DefinitionError) as error:
        read_documents(text, file)
    [finding] = error.value.findings
    return finding


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "no",
        "on",
        "off",
        "Yes",
        "NO",
        "On",
        "OFF",
        "y",
        "n",
        "2026-01-01",
        "2026-11-01T00:00:00Z",
        "12:30",
        "190:20:30",
        "1_000",
        "0b11",
        "1.2.3",
        "1,5",
        "+",
        ".",
        "e5",
        "1e",
        "0x",
        "0o8",
        "0xg",
        ".inf",
        ".nan",
        "-.inf",
        "tRue",
        "nUll",
        "<<",
        "=",
        "1e400",
        "-1e999",
        "٣",
    ],
)
def test_text_stays_text(text):
    assert value(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("False", False),
        ("FALSE", False),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-10", -10),
        ("+10", 10),
        ("010", 10),
        ("08", 8),
        ("0o14", 12),
        ("0x1F", 31),
        ("0", 0),
        ("1.0", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("'10'", "10"),
        ('"true"', "true"),
        ("''", ""),
        ('"null"', "null"),
        ("|\n  10", "10"),
        (">\n  yes", "yes"),
    ],
)
def test_scalars_are_read_as_yaml_1_2_does(text, expected):
    read = value(text)
    assert (read, type(read)) == (expected, type(expected))


@pytest.mark.parametrize("text", ["9" * 401, "0x" + "f" * 6000, "0o" + "7" * 6000, "1." + "0" * 6000])
def test_numbers_without_measure_stay_text(text):
    assert value(text) == text


def test_keys_are_always_text():
    assert read_documents("{yes: 1, 10: 2, null: 3, 1.0: 4}")[0].data == {"yes": 1, "10": 2, "null": 3, "1.0": 4}


def test_several_documents_stand_in_one_file_and_empty_ones_are_left_out():
    documents = read_documents("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n")
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]


def test_every_value_has_its_line():
    [document] = read_documents("a: 1\nb:\n  - c: 2\n  - d:\n      e: 3\n")
    lines = {("a",): 1, ("b",): 2, ("b", 0, "c"): 3, ("b", 1, "d"): 4, ("b", 1, "d", "e"): 5}
    assert {path: document.line(path) for path in lines} == lines
    assert document.line(("b", 1, "d", "nothing", "here")) == 4
    assert document.line(("nothing",)) == 1


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\na: 2\n", 2, "the key 'a' stands here twice"),
        ("x:\n  b: 1\n  c: 1\n  b: 2\n", 4, "the key 'b' stands here twice"),
        ("a: 1\n'a': 2\n", 2, "twice"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "expected ',' or ']'"),
        ("a: 1\n  b: 2\n", 2, "mapping values are not allowed"),
        ("a: 'x\n\n\n", 4, "unexpected end of stream"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("é: é\n\nb: \x01\n", 3, "control characters are not allowed"),
        ("a: @x\n", 1, "cannot start any token"),
        ("[1]: x\n", 1, "a key is a text"),
        ("x: 1\n? {a: b}\n: y\n", 2, "a key is a text"),
    ],
)
def test_broken_yaml_gives_file_line_and_what_was_expected(text, line, said):
    finding = refused(text)
    assert (finding.file, finding.line) == ("rules.yaml", line)
    assert said in finding.message
    assert str(finding).startswith(f"rules.yaml:{line}: error: ")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: &x {b: 1}\nb: *x",
        "a: &x text\nb: *x",
        "a: 1\nb: *nothing",
        "a: &x [1,\n*x]",
        "a: &x {b: 1}\nc: {<<: *x}",
    ],
)
def test_aliases_are_refused_where_they_stand(text):
    finding = refused(text)
    assert (finding.line, "alias" in finding.message) == (2, True)


def test_a_billion_laughs_end_at_once():
    laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
        f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 30)
    )
    start = time.perf_counter()
    assert "alias" in refused(laughs).message
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "text",
    [
        "!!str 10",
        "!!int '10'",
        "!!python/object/apply:os.system [x]",
        "!!binary aGk=",
        "!!set {a}",
        "!foo x",
        "! x",
        "!<tag:x> y",
        "!!map {}",
    ],
)
def test_tags_are_refused(text):
    assert "the tag" in refused(f"\na: {text}").message
    assert refused(f"\na: {text}").line == 2


def test_tags_of_keys_are_refused():
    assert "the tag" in refused("a: 1\n!!str b: 2").message
    assert refused("a: 1\n!!str b: 2").line == 2


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "- " * 20_000 + "a", "{a: " * 50_000, "[" * 41 + "]" * 41, "[" * 5000 + "]" * 5000]
)
def test_deep_nesting_is_refused_and_ends_nothing(text):
    assert "nested more than 40 levels deep" in refused(text).message


def test_as_deep_as_allowed_is_read():
    assert read_documents("[" * MAX_DEPTH + "]" * MAX_DEPTH)


# YAML takes neither control characters nor JSON's two escapes for one character.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_json_is_yaml(written):
    [document] = read_documents(json.dumps({"x": written}, ensure_ascii=False))
    assert json.dumps(document.data["x"]) == json.dumps(written)


@given(st.text(max_size=60))
def test_no_text_brings_the_reader_down(text):
    try:
        read_documents(text)
    except DefinitionError as error:
        assert error.findings


@given(st.text("[]{}:,-?!&*|>'\"#%@ \nab1", max_size=80))
def test_no_punctuation_brings_the_reader_down(text):
    try:
        read_documents(text)
    except DefinitionError as error:
        assert error.findings


# --- folders


def test_a_folder_is_read_in_order_with_what_lies_below_it(tmp_path: Path):
    for name, text in {
        "b.yaml": "n: 2",
        "a.yml": "n: 1",
        "sub/c.yaml": "n: 3",
        "x.cases.yaml": "- n: 4",
        "y.txt": "n: 5",
        "z.yamlx": "n: 6",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    documents = read_folder(tmp_path)
    assert [document.data["n"] for document in documents] == [1, 2, 3]
    assert [Path(document.file).name for document in documents] == ["a.yml", "b.yaml", "c.yaml"]


def test_a_missing_folder_is_named():
    with pytest.raises(DefinitionError, match="there is no folder /nowhere/rules"):
        read_folder(Path("/nowhere/rules"))


def test_a_file_is_no_folder(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("a: 1")
    with pytest.raises(DefinitionError, match="there is no folder"):
        read_folder(tmp_path / "a.yaml")


def test_a_folder_without_definitions_is_named(tmp_path: Path):
    (tmp_path / "only.cases.yaml").write_text("a: 1")
    with pytest.raises(DefinitionError, match="there are no definitions"):
        read_folder(tmp_path)


def test_a_file_that_is_not_utf_8_gives_its_line(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(DefinitionError) as error:
        read_folder(tmp_path)
    [finding] = error.value.findings
    assert (finding.line, finding.message) == (2, "is not UTF-8")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(DefinitionError, match="larger than"):
        read_folder(tmp_path)


def test_a_folder_called_like_a_file_is_a_finding(tmp_path: Path):
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(DefinitionError, match="cannot be read"):
        read_folder(tmp_path)


def test_all_files_findings_come_at_once(tmp_path: Path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text("x: [" if name != "b" else "x: 1")
    with pytest.raises(DefinitionError) as error:
        read_folder(tmp_path)
    assert [Path(finding.file).name for finding in error.value.findings] == ["a.yaml", "c.yaml"]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfkind: x\r\nname: y\r\n")
    assert read_folder(tmp_path)[0].data == {"kind": "x", "name": "y"}
