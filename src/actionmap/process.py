"""What one process needs to run its parts together: clock, sockets, signals."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from actionmap.errors import SettingsError

#: Seconds that requests in hand may take when the server ends.
GRACE_S = 5


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def tune_garbage_collector() -> None:
    """Keep the collector from going through rulebook and visitors, which hold no garbage, at every turn."""
    gc.collect()
    keep_from_collector()
    gc.set_threshold(50_000, 20, 100)


def keep_from_collector() -> None:
    """Take all that there is now for no garbage: what is thrown away later is freed as its last user lets go of it."""
    gc.freeze()


@contextmanager
def collector_paused() -> Iterator[None]:
    """While much is built that holds no garbage, the collector would go through it again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def is_listening(host: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def end_with_parent() -> None:
    """Called in a child before it becomes another program: ask Linux to end it when its parent is killed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def tell_ready() -> None:
    """Tell whoever started this process, be it systemd or our own supervisor, that it works; nobody has to listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # An address that begins with @ is abstract: it names no file.
            sender.sendto(f"READY=1\nMAINPID={os.getpid()}".encode(), address.replace("@", "\0", 1))


async def tell_ready_after(event: asyncio.Event) -> None:
    """`tell_ready` once ``event`` is set; runs until cancelled, as all that runs beside a main part."""
    await event.wait()
    tell_ready()
    await asyncio.Event().wait()


async def first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of ``tasks`` ends, and raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def cancel(*tasks: asyncio.Task[Any], patience_s: float = 0.5) -> None:
    """Cancel ``tasks`` and wait until each has ended, whatever it raises; one that has not after ``patience_s``, again.

    Again and again: before Python 3.12, `asyncio.wait_for`, through which redis-py and aiokafka wait, swallows a
    cancellation that comes together with what it waits for.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience_s)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        SettingsError: the port is taken, or the address is not ours.
    """
    try:
        listener = socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}; "
            "stop what listens there, or choose another port"
        ) from None
    # asyncio sets it only where a socket names its protocol; without it an answer in two writes takes 40 ms longer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """``http://host:port`` of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


async def run_until_signal(
    main: Coroutine[Any, Any, Any], stop: Callable[[], None], *beside: Coroutine[Any, Any, None]
) -> None:
    """Run ``main`` until it ends; SIGINT and SIGTERM call ``stop``; what runs beside it ends with it."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    tasks = [asyncio.create_task(main), *(asyncio.create_task(other) for other in beside)]
    try:
        await first_of(*tasks)
    finally:
        if not tasks[0].done():
            stop()
            await asyncio.gather(tasks[0], return_exceptions=True)
        # Those that serve HTTP answer the requests in hand first.
        await cancel(*tasks, patience_s=2 * GRACE_S)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
