"""Several worker processes under one parent: started one after the other, started again when they die, ended in order.

A worker tells that it is ready as services tell systemd: by ``READY=1`` to the socket in ``NOTIFY_SOCKET``. So the same
`actionmap run` works under systemd, under this parent, or alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from actionmap.process import end_with_parent, tell_ready
from actionmap.telemetry import logger

#: The exit code of a command that was told wrong things or reached nobody: starting it again would not help.
_COULD_NOT_START = 2


class Limits(NamedTuple):
    """How long things may take, in seconds."""

    #: From a worker's start until it has joined the group; then the next one starts all the same.
    ready_s: float = 60.0
    #: From SIGTERM until SIGKILL.
    stop_s: float = 25.0
    #: The first wait before a worker that died is started again; doubled each time, up to the second.
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    #: A worker that lived so long begins with the first wait again.
    steady_s: float = 60.0


class Command(NamedTuple):
    """What one worker runs, and what is added to its environment."""

    arguments: Sequence[str]
    environment: dict[str, str]


class _Worker:
    """One place among the workers, and the process that fills it now."""

    def __init__(self, number: int, command: Command, limits: Limits) -> None:
        self.number = number
        self._command = command
        self._limits = limits
        self._started = 0.0
        self._failures = 0
        self._process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        #: Its process is being exchanged, so its end is no failure.
        self.leaving = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def code(self) -> int | None:
        """The exit code of its process, negative for a signal; None while there is none."""
        return self._process.returncode if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, notify_address: str) -> None:
        self.ready.clear()
        self.leaving = False
        self._started = time.monotonic()
        # A session of its own, so that Ctrl-C reaches the parent alone, which ends its workers in order.
        self._process = await asyncio.create_subprocess_exec(
            *self._command.arguments, stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            preexec_fn=end_with_parent,
            env={**os.environ, **self._command.environment, "NOTIFY_SOCKET": notify_address},
        )  # fmt: skip

    async def ended(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def leave(self) -> None:
        """Ask it to end, and end it when it does not."""
        if not self.leaving:
            self.leaving = True
            self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended(), self._limits.stop_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.ended()

    def wait_before_restart(self) -> float:
        """Seconds; none when its process was being exchanged."""
        if self.leaving:
            return 0.0
        if time.monotonic() - self._started >= self._limits.steady_s:
            self._failures = 0
        self._failures += 1
        return float(min(self._limits.first_wait_s * 2 ** (self._failures - 1), self._limits.longest_wait_s))


class Supervisor:
    """Keeps one process per command running until SIGTERM or SIGINT; SIGHUP exchanges them one after the other."""

    def __init__(self, commands: Sequence[Command], limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._workers = [_Worker(number, command, limits) for number, command in enumerate(commands)]
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._roll_asked = asyncio.Event()
        self._log = logger("supervisor")
        self._address = ""
        #: Processes that told so, and are not known to be a worker's yet.
        self._told_ready: set[int] = set()

    async def run(self) -> int:
        """Run until a signal.

        Returns:
            The exit code: 0 when all ended in order; 2 when a worker could not start with what it was told; 1 when the
            first worker died before it was ready, or one had to be killed in the end.
        """
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stopping.set, signal.SIGINT: self._stopping.set,
                    signal.SIGHUP: self._roll_asked.set}  # fmt: skip
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            async with _notifications(self._became_ready) as self._address:
                code = await self._start_all()
                if not code and not self._stopping.is_set():
                    tell_ready()
                    await self._roll_when_asked()
                return await self._stop_all() or code
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _became_ready(self, pid: int) -> None:
        self._told_ready.add(pid)
        for worker in self._workers:
            if worker.pid in self._told_ready:
                self._told_ready.remove(worker.pid)
                worker.ready.set()
                self._log.info("worker.ready", worker=worker.number, pid=worker.pid)

    async def _start_all(self) -> int:
        """Start one after the other; the exit code to end with, or 0."""
        for worker in self._workers:
            await self._start(worker)
            await _first_of(worker.ready.wait(), worker.ended(), self._stopping.wait(), seconds=self._limits.ready_s)
            if self._stopping.is_set():
                return 0
            if worker.code == _COULD_NOT_START or (worker.code is not None and worker.number == 0):
                self._log.error("workers.not_started", worker=worker.number, code=worker.code,
                                means="it ended before it was ready, and said why above; so all are ended")  # fmt: skip
                return _COULD_NOT_START if worker.code == _COULD_NOT_START else 1
            if worker.is_running and not worker.ready.is_set():
                self._log.warning("worker.slow", worker=worker.number, pid=worker.pid, waited_s=self._limits.ready_s)
            self._keepers.append(asyncio.create_task(self._keep(worker), name=f"worker {worker.number}"))
        return 0

    async def _start(self, worker: _Worker) -> None:
        await worker.start(self._address)
        self._log.info("worker.started", worker=worker.number, pid=worker.pid)
        if worker.pid in self._told_ready:  # it was faster than the answer that it was started
            self._became_ready(worker.pid)

    async def _keep(self, worker: _Worker) -> None:
        """Start it again each time that it ends, until all stop."""
        while True:
            await _first_of(worker.ended(), self._stopping.wait())
            if self._stopping.is_set():
                await worker.leave()
                return
            wait = worker.wait_before_restart()
            log = self._log.info if worker.leaving else self._log.error
            log("worker.ended", worker=worker.number, pid=worker.pid, code=worker.code, restart_in_s=wait)
            await _first_of(self._stopping.wait(), seconds=wait)
            if not self._stopping.is_set():
                try:
                    await self._start(worker)
                except OSError as error:  # no memory or no process left: it counts as one more early end
                    self._log.error("worker.not_started", worker=worker.number, reason=str(error))

    async def _roll_when_asked(self) -> None:
        while not self._stopping.is_set():
            await _first_of(self._stopping.wait(), self._roll_asked.wait())
            if self._roll_asked.is_set() and not self._stopping.is_set():
                self._roll_asked.clear()
                await self._roll()

    async def _roll(self) -> None:
        """Exchange the processes one after the other; stop half-way rather than lose more than one worker."""
        self._log.info("roll.started")
        for worker in self._workers:
            worker.ready.clear()
            await worker.leave()
            await _first_of(worker.ready.wait(), self._stopping.wait(), seconds=self._limits.ready_s)
            if self._stopping.is_set():
                return
            if not worker.ready.is_set():
                self._log.error("roll.stopped", worker=worker.number, waited_s=self._limits.ready_s,
                                means="it does not become ready; those after it go on as they are")  # fmt: skip
                return
        self._log.info("roll.ended")

    async def _stop_all(self) -> int:
        """Ask all to end, and end those that do not; 1 when one did not end in order."""
        self._stopping.set()
        running = [worker for worker in self._workers if worker.is_running]
        await asyncio.gather(*(worker.leave() for worker in self._workers), *self._keepers)
        for worker in running:
            self._log.info("worker.ended", worker=worker.number, pid=worker.pid, code=worker.code)
        # One that was only just starting had no handler for the signal yet.
        return 0 if all(worker.code in (0, -signal.SIGTERM) for worker in running) else 1


async def _first_of(*waits: Coroutine[object, object, object], seconds: float | None = None) -> None:
    """Wait until one of ``waits`` is over, or for so many seconds."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _notifications(on_ready: Callable[[int], None]) -> AsyncIterator[str]:
    """Where workers tell that they are ready: the address of a socket; ``on_ready`` is given their process id."""

    class Reader(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            told = dict(line.partition("=")[::2] for line in data.decode(errors="replace").splitlines())
            if told.get("READY") == "1" and told.get("MAINPID", "").isdecimal():
                on_ready(int(told["MAINPID"]))

    with tempfile.TemporaryDirectory(prefix="actionmap-") as folder:
        address = str(Path(folder) / "notify")
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Reader, local_addr=address, family=socket.AF_UNIX)
        try:
            yield address
        finally:
            transport.close()
