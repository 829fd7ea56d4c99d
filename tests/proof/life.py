"""One life of a worker process, from its fork to its death or its orderly end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from forker import Forker, Job
from own_store import OwnStore

from actionmap.errors import Unreachable

_LOOK_EVERY_S = 0.03
#: Longer than requests in flight and unsettled results are waited for.
_STOP_TIMEOUT_S = 20.0


class Life:
    """A worker that does ``job``; ``store`` is the one it may ask to die."""

    def __init__(self, forker: Forker, job: Job, store: OwnStore | None) -> None:
        self._forker, self._job, self._store = forker, job, store
        self._over = asyncio.Event()
        self._began = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self.pid = 0
        #: Whether it was killed where the scenario wanted, or had a fault that it survives.
        self.was_cut = self.was_faulted = False
        #: Whether it stands still; see `thaw`.
        self.is_frozen = False
        self.last_word = ""

    async def begin(self) -> None:
        """Return when the process is there."""
        Path(self._job.line).unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._listen, self._job.line)
        self._forker.start(self._job)
        await self._began.wait()

    async def over_or(self, reached: Callable[[], Awaitable[bool]]) -> bool:
        """Wait until the process is dead or frozen, or ``reached``; whether it is."""
        while not self._over.is_set() and not self.is_frozen:
            with suppress(Unreachable):
                if await reached():
                    return True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _LOOK_EVERY_S)
        return False

    def thaw(self) -> None:
        """Let it go on."""
        self.is_frozen = False
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> None:
        """Let it end in order."""
        assert self._writer is not None
        with suppress(OSError):
            self._writer.write(b"!")
        try:
            await asyncio.wait_for(self._over.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            raise AssertionError(f"the worker did not stop within {_STOP_TIMEOUT_S} s") from None

    async def kill(self) -> None:
        """Whatever it does."""
        if self.pid and not self._over.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            await self._over.wait()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            async for line in reader:
                await self._hear(line.decode().strip())
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._server.close()
            self._over.set()

    async def _hear(self, said: str) -> None:
        word, _, number = said.partition(" ")
        self.last_word = word
        match word:
            case "pid":
                self.pid = int(number)
                self._began.set()
            case "cut":
                self.was_cut = True
            case "lost":
                self.was_faulted = True
            case "frozen":
                self.was_faulted = self.is_frozen = True
            case "floor" if self._store is not None:
                self._store.floor = max(self._store.floor, int(number))
            case "store" if self._store is not None:
                self.was_faulted = True
                await self._store.die()
                assert self._writer is not None
                self._writer.write(b".")
