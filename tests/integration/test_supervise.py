"""The parent of several workers, with small real processes in their place."""

import asyncio
import json
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from processes import Process
from support import PATIENCE_S

PARENT = """
import asyncio, json, sys
from actionmap.supervise import Command, Limits, Supervisor
from actionmap.telemetry import configure_logging
configure_logging("info", "json")
scripts, limits = json.loads(sys.argv[1])
commands = [Command([sys.executable, "-c", script], {"NUMBER": str(n)}) for n, script in enumerate(scripts)]
sys.exit(asyncio.run(Supervisor(commands, Limits(**limits)).run()))
"""
READY = """
import os, signal, socket, sys
def ready():
    address, told = os.environ["NOTIFY_SOCKET"], f"READY=1\\nMAINPID={os.getpid()}"
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(told.encode(), address)
def work():
    signal.sigwait([signal.SIGTERM])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.alarm(60)  # whatever becomes of the test
"""
STEADY = READY + "ready(); work()"
STUBBORN = READY + "ready(); signal.pause()"
SHORT_LIVED = READY + "ready(); sys.exit(3)"
MISLED = "import sys; print('error: no Kafka broker answers', file=sys.stderr); sys.exit(2)"
CRASHING = "import sys; sys.exit(7)"


class Parent(Process):
    """A supervisor and what it logs."""

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines if line.startswith("{")]

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._said:
            await self._said.wait_for(lambda: reached() or self._lines[-1:] == [""])
        assert reached(), self.output()

    async def all_ready(self, number: int) -> None:
        await self.until(lambda: len(self.logged("worker.ready")) >= number)

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self._process.wait()

    def pids(self) -> list[int]:
        return [line["pid"] for line in self.logged("worker.started")]


@asynccontextmanager
async def supervising(*scripts: str, **limits: float) -> AsyncIterator[Parent]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, json.dumps([scripts, {"ready_s": 10, "stop_s": 10, **limits}]),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    parent = Parent(process)
    try:
        yield parent
    finally:
        if process.returncode is None:
            process.kill()  # its workers end with it
        await parent.ends()


def story(parent: Parent) -> list[tuple[str, int]]:
    return [(line["event"].removeprefix("worker."), line["worker"]) for line in parent.log() if "worker" in line]


async def test_each_worker_starts_when_the_one_before_is_ready_and_sigterm_ends_all_in_order() -> None:
    async with supervising(STEADY, STEADY, STEADY) as parent:
        await parent.all_ready(3)
        assert story(parent) == [(what, number) for number in range(3) for what in ("started", "ready")]
        assert await parent.stop(signal.SIGTERM) == 0, parent.output()
        assert [(line["worker"], line["code"]) for line in parent.logged("worker.ended")] == [(0, 0), (1, 0), (2, 0)]
        for pid in parent.pids():
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_a_worker_that_is_killed_is_started_again_and_the_others_go_on() -> None:
    async with supervising(STEADY, STEADY, first_wait_s=0.01) as parent:
        await parent.all_ready(2)
        os.kill(parent.pids()[1], signal.SIGKILL)
        await parent.all_ready(3)
        assert [line["code"] for line in parent.logged("worker.ended")] == [-signal.SIGKILL]
        assert story(parent)[-2:] == [("started", 1), ("ready", 1)]
        assert len(parent.pids()) == 3


async def test_a_worker_that_keeps_dying_is_started_again_ever_more_slowly() -> None:
    async with supervising(STEADY, SHORT_LIVED, first_wait_s=0.01, longest_wait_s=0.04) as parent:
        await parent.until(lambda: len(parent.logged("worker.ended")) >= 5)
        waits = [line["restart_in_s"] for line in parent.logged("worker.ended")]
        assert waits[:5] == [0.01, 0.02, 0.04, 0.04, 0.04]
        assert await parent.stop(signal.SIGTERM) == 0, parent.output()


async def test_a_worker_that_lived_long_enough_is_started_again_at_once() -> None:
    async with supervising(STEADY, SHORT_LIVED, first_wait_s=0.01, steady_s=0.0) as parent:
        await parent.until(lambda: len(parent.logged("worker.ended")) >= 4)
        assert {line["restart_in_s"] for line in parent.logged("worker.ended")} == {0.01}


@pytest.mark.parametrize(("workers", "code"), [([MISLED, STEADY], 2), ([STEADY, MISLED], 2), ([CRASHING, STEADY], 1)])
async def test_workers_that_cannot_start_end_the_whole_and_say_why(workers: list[str], code: int) -> None:
    async with supervising(*workers) as parent:
        assert await parent.ends() == code, parent.output()
        (line,) = parent.logged("workers.not_started")
        assert line["code"] == (code if code == 2 else 7)
        assert ("error: no Kafka broker answers" in parent.output()) == (code == 2)


async def test_a_worker_that_does_not_end_is_ended() -> None:
    async with supervising(STEADY, STUBBORN, stop_s=0.3) as parent:
        await parent.all_ready(2)
        assert await parent.stop(signal.SIGTERM) == 1, parent.output()
        assert [line["code"] for line in parent.logged("worker.ended")] == [0, -signal.SIGKILL]


async def test_sigterm_while_workers_start_ends_those_that_were_started() -> None:
    async with supervising(READY + "work()", STEADY) as parent:
        await parent.until(lambda: len(parent.pids()) == 1)
        assert await parent.stop(signal.SIGTERM) == 0, parent.output()
        assert len(parent.pids()) == 1


async def test_sighup_exchanges_the_workers_one_after_the_other() -> None:
    async with supervising(STEADY, STEADY, first_wait_s=60) as parent:
        await parent.all_ready(2)
        parent._process.send_signal(signal.SIGHUP)
        await parent.until(lambda: bool(parent.logged("roll.ended")))
        exchange = ("ended", "started", "ready")
        assert story(parent)[4:] == [(what, number) for number in range(2) for what in exchange]
        assert len(set(parent.pids())) == 4
        assert await parent.stop(signal.SIGTERM) == 0, parent.output()


async def test_a_roll_stops_at_the_first_worker_that_does_not_become_ready_again(tmp_path: Path) -> None:
    once = f"{READY}if not os.path.exists(n := {str(tmp_path)!r} + os.environ['NUMBER']): open(n, 'w'); ready()\n"
    async with supervising(once + "work()", STEADY, ready_s=3) as parent:
        await parent.all_ready(2)
        parent._process.send_signal(signal.SIGHUP)
        await parent.until(lambda: bool(parent.logged("roll.stopped")))
        assert [line["worker"] for line in parent.logged("worker.ended")] == [0]


async def test_workers_end_with_a_parent_that_is_killed() -> None:
    async with supervising(STEADY, STEADY) as parent:
        await parent.all_ready(2)
        ends = [os.pidfd_open(pid) for pid in parent.pids()]
        parent._process.kill()
        for end in ends:
            readable, _, _ = await asyncio.to_thread(select.select, [end], [], [], PATIENCE_S)
            os.close(end)
            assert readable
