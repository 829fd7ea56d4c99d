"""Runs commands of actionmap as processes of their own, without paying for the imports each time.

Run as a program, it imports actionmap once and then forks for each line of JSON it is given: a command's arguments,
folder, environment, and files for its three streams. It answers each line with the exit code.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol

#: Seconds after which a command is ended.
LIMIT_S = 60
#: What commands import when they run.
WORKED_WITH = (
    "httpx", "actionmap.app", "actionmap.cases", "actionmap.catalog.lint", "actionmap.cli.by_files",
    "actionmap.cli.exported", "actionmap.cli.simulated", "actionmap.demo.dev", "actionmap.demo.run",
    "actionmap.genesys", "actionmap.supervise", "actionmap.trial",
)  # fmt: skip


class Run(Protocol):
    """Runs one command to its end."""

    def __call__(
        self, *args: str, cwd: Path, stdin: bytes = b"", env: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Run ``actionmap`` with ``args`` in the folder ``cwd``, with no ``ACTIONMAP_…`` settings but ``env``."""


@contextmanager
def command_line(folder: Path) -> Iterator[Run]:
    """A way to run commands, with ``folder`` for their streams."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACTIONMAP_")}
    streams = [str(folder / name) for name in ("stdin", "stdout", "stderr")]
    with subprocess.Popen([sys.executable, __file__], stdin=-1, stdout=-1, text=True, bufsize=1) as forker:
        assert forker.stdin is not None
        assert forker.stdout is not None
        asked, answered = forker.stdin, forker.stdout

        def run(
            *args: str, cwd: Path, stdin: bytes = b"", env: Mapping[str, str] = {}
        ) -> subprocess.CompletedProcess[str]:
            Path(streams[0]).write_bytes(stdin)
            environment = {**clean, "COLUMNS": "200", **env}
            print(json.dumps([args, str(cwd), environment, streams]), file=asked)
            code = int(answered.readline())
            return subprocess.CompletedProcess(args, code, Path(streams[1]).read_text(), Path(streams[2]).read_text())

        yield run


def _become(args: list[str], cwd: str, env: dict[str, str], streams: list[str]) -> None:
    signal.alarm(LIMIT_S)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (path, flags) in enumerate(zip(streams, (os.O_RDONLY, write, write), strict=True)):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["actionmap", *args]


def _serve() -> None:
    from actionmap.cli import main
    from actionmap.cli.app import COMMANDS, loaded

    for name in COMMANDS:
        loaded(name)
    for module in WORKED_WITH:
        import_module(module)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
            code = 1
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # without taking all that was imported apart again
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
