"""Worker processes for the price of a fork: run as a program, it imports the engine once, then forks for each line.

Each line of its standard input is a `Job` as JSON. The child that it becomes runs a real engine, and talks to the run
over a socket: ``pid`` first, then what happens to it; it stops in order when it reads ``!``.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec

_TESTS = Path(__file__).parents[1]


class Job(msgspec.Struct):
    """What one life of a worker is to be."""

    #: Path of the socket that the run listens on.
    line: str
    #: File that what it logs is added to.
    log: str
    settings: dict[str, Any]
    #: By hand; None: those that the group assigns.
    partitions: tuple[int, ...] | None
    lease_ms: int
    tells_floor: bool
    #: As lists of the fields of `Cut`.
    cuts: list[Any]


class Forker:
    """Starts workers."""

    def __init__(self, program: "Popen[str]") -> None:
        self._program = program

    def start(self, job: Job) -> None:
        """A process that does ``job``; it reports over the job's socket."""
        assert self._program.stdin is not None
        print(msgspec.json.encode(job).decode(), file=self._program.stdin, flush=True)


@contextmanager
def forker() -> Iterator[Forker]:
    """A way to start workers, for as long as the context lasts."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACTIONMAP_")}
    path = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Popen([sys.executable, __file__], stdin=-1, text=True, env={**clean, "PYTHONPATH": path}) as program:
        yield Forker(program)


def _serve() -> None:
    import work  # noqa: F401 - all that a worker needs is imported here, once

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the exit codes
    gc.collect()
    gc.freeze()
    for written in sys.stdin:
        if os.fork() == 0:
            _become(msgspec.json.decode(written, type=Job))


def _become(job: Job) -> None:
    from work import work

    from actionmap.process import end_with_parent

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent()
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    line = socket.socket(socket.AF_UNIX)
    line.connect(job.line)
    line.sendall(f"pid {os.getpid()}\n".encode())
    try:
        asyncio.run(work(job, line))
        line.sendall(b"ended\n")
    except BaseException:
        traceback.print_exc()
        line.sendall(b"failed\n")
    os._exit(0)  # without taking all that was imported apart again


if __name__ == "__main__":
    _serve()
