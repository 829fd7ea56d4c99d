"""The command that imports a tenant: what it writes loads, what it cannot do it says, and it overwrites nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actionmap.cli.app import app as commands
from actionmap.cli.app import main

TENANT = Path(__file__).parents[1] / "unit" / "genesys"


def run(*args):
    return CliRunner().invoke(commands, [str(arg) for arg in args])


def test_what_is_written_passes_lint_and_what_was_not_imported_is_said_by_the_exit_code(tmp_path):
    done = run("import", "genesys", TENANT, "--out", tmp_path / "made", "--format", "json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [one["name"] for one in report["resources"] if one["status"] == "notImported"] == ["invitation"]
    assert {Path(path).name for path in report["written"]} == {
        "integrations.yaml", "data-actions.yaml", "webhooks.yaml", "segments.yaml", "action-maps.yaml",
    }  # fmt: skip
    assert run("lint", tmp_path / "made").exit_code == 0


def test_what_is_imported_whole_exits_with_0_and_names_each_decision(tmp_path):
    export = next(TENANT.glob("*.json"))
    done = run("import", "genesys", export, "--out", tmp_path / "made")
    assert done.exit_code == 0
    assert "ACTIONMAP_SECRET_API_HUBAPI_EXAMPLE_COM" in done.stdout
    assert "# Decide: auth" in (tmp_path / "made" / "integrations.yaml").read_text()


@pytest.mark.parametrize("broken", [True, False])
def test_a_file_that_is_there_stays_as_it_is_and_a_broken_one_writes_nothing(tmp_path, monkeypatch, capsys, broken):
    made, source = tmp_path / "made", tmp_path / "a.tf"
    source.write_text('resource "genesyscloud_journey_segment" "x" {' if broken else (TENANT / "shop.tf").read_text())
    made.mkdir()
    (made / "segments.yaml").write_text("# mine\n")
    monkeypatch.setattr("sys.argv", ["actionmap", "import", "genesys", str(source), "--out", str(made)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert {path.name: path.read_text() for path in made.iterdir()} == {"segments.yaml": "# mine\n"}
    assert ("a.tf" if broken else "segments.yaml") in capsys.readouterr().err
