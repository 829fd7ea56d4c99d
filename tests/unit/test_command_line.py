"""The command line imports what a command works with when the command runs, and not before."""

import subprocess
import sys
from importlib import import_module

import typer
from typer.main import get_group

from actionmap.cli.app import COMMANDS, loaded

SERVER = ("fastapi", "uvicorn", "aiokafka", "redis", "aiohttp", "actionmap.app", "actionmap.engine", "actionmap.admin")
#: Runs commands one after the other, each against a server that is not there, and prints what that has imported.
ASKING = """
import sys
from actionmap.cli import main
for line in sys.argv[1:]:
    sys.argv = ["actionmap", *line.split()]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, 2), (line, end.code)
print(*(name for name in {server} if name in sys.modules))
"""


def imported(*lines: str) -> list[str]:
    program = ASKING.format(server=SERVER)
    environment = {"ACTIONMAP_API_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", program, *lines], env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_help_and_commands_that_ask_a_server_do_not_import_one(tmp_path):
    (tmp_path / "shop.yaml").write_text("kind: Integration\nname: shop\nbaseUrl: https://shop.example.com\n")
    helps = ["--version", "--help", *(f"{name} --help" for name in COMMANDS)]
    asking = [f"plan {tmp_path}", f"apply {tmp_path}", f"export {tmp_path}", "check-golive", "explain --visitor v-1",
              "webhooks test shop", "deliveries list", "dead-letters list", "integrations list", "keys list", "status",
              "secrets rotate"]  # fmt: skip
    assert imported(*helps, *asking, f"lint {tmp_path}") == []


def test_help_is_shown_without_what_definitions_are_read_with():
    program = "import sys; from actionmap.cli.app import COMMANDS, loaded; [loaded(name) for name in COMMANDS]; "
    program += "print(*{'pydantic', 'httpx', 'yaml', 'cryptography'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_the_list_of_commands_says_of_each_what_its_own_help_says():
    own = {name: loaded(name) for name in COMMANDS}
    lines = {name: " ".join((command.help or "").partition("\n\n")[0].split()) for name, command in own.items()}
    assert lines == {name: help_ for name, (_, help_) in COMMANDS.items()}


def test_every_command_of_every_module_is_in_the_list():
    added = typer.Typer()
    for module in {module for module, _ in COMMANDS.values()}:
        import_module(f"actionmap.cli.{module}").add_to(added)
    assert get_group(added).commands.keys() == COMMANDS.keys()
