"""`make soak MINUTES=10`: 5 times as many events as one worker evaluates, again and again, and faults, on Apache Kafka.

Nothing may be lost, decided twice or sent with another body, and after warming up the worker's memory stays flat.
"""

import asyncio
import logging
import shutil
import signal
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from load import PARTITIONS, VISITORS, orders_among, partition_of
from scene import NAME, PATIENCE_S, Faults, Site

from actionmap.consume.ends import log_ends
from actionmap.errors import ActionmapError
from actionmap.visitor import decode_visitor

#: What the worker's memory may grow to.
_FLAT = 1.05
_MIB = 2**20


class Verdict:
    """What came of it."""

    def __init__(self, site: Site, warm_at: float) -> None:
        self._site = site
        self.rows: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self._memory(warm_at)

    async def look(self) -> None:
        """Wait until all is evaluated and all is sent, as long as that may take, then count."""
        site, orders = self._site, orders_among(self._site.load.sent)
        await self._settled(self._at_the_end, "all that is in the log is evaluated")
        await self._settled(self._nothing_owed, "nothing is owed any more")
        counted, dead = await self._counted(), sum([len(await site.store.dead_letters(n, limit=100))
                                                    for n in range(PARTITIONS)])  # fmt: skip
        self.row("events", f"{site.load.sent:,}")
        self.row("events that visitors have counted", f"{counted:,}", counted != site.load.sent)
        self.row("webhooks owed", f"{len(orders):,}")
        self.row("webhooks received", f"{len(site.shop.bodies):,}")
        self.row("repeated, with the same id", f"{site.shop.repeated:,}")
        lost = sum(n not in site.shop.bodies for n in orders)
        for what, number in (("lost", lost), ("other bodies", site.shop.other_bodies),
                             ("nobody is owed", site.shop.strangers), ("dead letters", dead)):  # fmt: skip
            self.row(what, f"{number:,}", number != 0)

    def row(self, what: str, value: str, wrong: bool = False) -> None:
        self.rows.append((what, value))
        self.wrong += [what] * wrong

    async def _settled(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with suppress(ActionmapError):
                if await holds():
                    return
            await asyncio.sleep(0.5)
        self.wrong.append(f"never came true: {what}")

    async def _at_the_end(self) -> bool:
        ends = await log_ends(self._site.kafka.bootstrap, NAME)
        return all([(await self._site.store.fence(n)).offset + 1 == end for n, end in ends.items()])

    async def _nothing_owed(self) -> bool:
        return not any([await self._site.store.outbox_size(n) for n in range(PARTITIONS)]) and (
            len(self._site.shop.bodies) >= len(orders_among(self._site.load.sent))
        )

    async def _counted(self) -> int:
        """Each event counts once at its visitor, so an event that was decided twice shows here."""
        total = 0
        for partition in range(PARTITIONS):
            ids = [f"v{number}" for number in range(VISITORS) if partition_of(number) == partition]
            total += sum(decode_visitor(one).event_count for one in await self._site.store.load(partition, ids) if one)
        return total

    def _memory(self, warm_at: float) -> None:
        sizes = [size / _MIB for second, size in self._site.memory if second >= warm_at] or [0.0]
        fifth = max(1, len(sizes) // 5)
        warm, last, most = statistics.median(sizes[:fifth]), statistics.median(sizes[-fifth:]), max(sizes)
        self.row("memory when warm, MiB", f"{warm:.1f}", not warm)
        for what, size in (("in the end", last), ("at most", most)):
            self.row(f"memory {what}, MiB", f"{size:.1f} ({size / (warm or 1) - 1:+.1%})", size > warm * _FLAT)


class Line:
    """What is happening now: on a terminal it moves, elsewhere it is written every 10 seconds."""

    def __init__(self, site: Site, console: Console, progress: Progress) -> None:
        self._site, self._console, self._progress = site, console, progress
        self._task, self._told = progress.add_task("starting"), 0

    def tell(self) -> None:
        site = self._site
        memory = site.memory[-1][1] / _MIB if site.memory else 0
        line = (f"lag {site.lag:,} · evaluated {site.evaluated:,} · webhooks {len(site.shop.bodies):,} · "
                f"memory {memory:.1f} MiB · {site.fault}")  # fmt: skip
        self._told += 1
        self._progress.update(self._task, description=line)
        if not self._console.is_terminal and self._told % 10 == 0:
            self._console.print(f"{self._told:5d} s  {line}", highlight=False, soft_wrap=True)


async def _soak(given: Namespace, folder: Path, console: Console) -> Verdict:
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    async with AsyncExitStack() as stack:
        site = Site(folder)
        await site.open(stack)
        line = Line(site, console, stack.enter_context(Progress(*columns, console=console)))
        watching = asyncio.create_task(site.watch(line.tell))
        stack.callback(watching.cancel)
        rate, begin = await site.first_rate(), time.monotonic()
        console.print(f"one worker evaluates {rate:,.0f} events a second; seed {given.seed}")
        # A third of the time, or two minutes, but no more than half.
        warm_at, end = begin + max(given.minutes * 20, min(120, given.minutes * 30)), begin + given.minutes * 60
        faults = asyncio.create_task(Faults(site, given.seed).run((begin + warm_at) / 2, warm_at, end))
        came = await site.bursts(rate, end)
        await faults
        verdict = Verdict(site, warm_at)
        await verdict.look()
        verdict.row("events a second, alone", f"{rate:,.0f}")
        verdict.row("events a second in bursts", f"{statistics.median(came):,.0f} (median of {len(came)})")
        verdict.row("lag at most", f"{site.lag_max:,}")
        for kind, number in sorted(site.faults.items()):
            verdict.row(f"fault: {kind}", str(number))
        code = await site.end_worker(signal.SIGTERM)
        verdict.row("exit code of the worker", str(code), code != 0)
        return verdict


def main() -> int:
    """Soak as long as asked; 1 when something was lost, sent otherwise, or memory grew."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="decides which faults come when")
    given, console = parser.parse_args(), Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="actionmap-soak-"))
    verdict = asyncio.run(_soak(given, folder, console))
    table = Table("what", "figure")
    for row in verdict.rows:
        table.add_row(*row)
    console.print(table)
    if verdict.wrong:
        console.print(f"wrong: {', '.join(verdict.wrong)}; logs and data are in {folder}", soft_wrap=True)
        return 1
    shutil.rmtree(folder)
    console.print("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
