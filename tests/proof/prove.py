"""`make prove SEEDS=20`: every crash point, every seed. Stopped, it goes on where it was, until the code changes."""

import asyncio
import hashlib
import json
import logging
import sys
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from itertools import product
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_TESTS = Path(__file__).parents[1]
_REPO = _TESTS.parent
sys.path.append(str(_TESTS))

from cuts import POINTS  # noqa: E402 - found by the line above
from many import explain, outcomes  # noqa: E402
from run import Outcome, workshop  # noqa: E402


def _code_hash() -> str:
    """Changes with the code that is proved, and with the proof."""
    digest = hashlib.sha256()
    for root in (_REPO / "src", Path(__file__).parent):
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".lua")):
            digest.update(f"{path.relative_to(_REPO)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


class Results:
    """The outcomes so far, one a line in ``file``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: dict[tuple[str, int], Outcome] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        for line in file.read_text().splitlines() if file.exists() else ():
            outcome = Outcome(**json.loads(line))
            self.found[outcome.point, outcome.seed] = outcome

    def add(self, outcome: Outcome) -> None:
        self.found[outcome.point, outcome.seed] = outcome
        with self._file.open("a") as file:
            print(json.dumps(asdict(outcome)), file=file)


def _table(found: Iterable[Outcome]) -> Table:
    by_point = defaultdict(list)
    for outcome in found:
        by_point[outcome.point].append(outcome)
    table = Table("point", "runs", "never reached", "violations", "store deaths", "bytes it lost", "requests",
                  "repeats, same id")  # fmt: skip
    for point, runs in sorted(by_point.items()):
        table.add_row(*map(str, (point, *_row(runs))))
    table.add_section()
    table.add_row("all", *map(str, _row([outcome for runs in by_point.values() for outcome in runs])))
    return table


def _row(runs: list[Outcome]) -> tuple[int, ...]:
    return (
        len(runs),
        sum(not outcome.reached for outcome in runs),
        sum(bool(outcome.violations) for outcome in runs),
        sum(outcome.deaths for outcome in runs),
        sum(outcome.lost for outcome in runs),
        sum(outcome.requests for outcome in runs),
        sum(outcome.repeats for outcome in runs),
    )


async def _prove(results: Results, wanted: list[tuple[str, int]], console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    left = [one for one in wanted if one not in results.found]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("crash points", total=len(wanted), completed=len(wanted) - len(left))
        async with workshop() as shop:
            async for outcome in outcomes(shop, left):
                results.add(outcome)
                progress.advance(task)
                if outcome.violations or not outcome.reached:
                    console.print(explain(outcome), markup=False, highlight=False)


def _arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, counted from 0")
    parser.add_argument("--point", choices=sorted(POINTS), action="append", help="this point only; may be repeated")
    parser.add_argument("--seed", type=int, help="this seed only, anew")
    return parser.parse_args()


def main() -> int:
    """Prove what is asked; 1 when something was wrong."""
    given, console = _arguments(), Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seeds = range(given.seeds) if given.seed is None else [given.seed]
    wanted = [(point, seed) for seed, point in product(seeds, given.point or POINTS)]
    results = Results(_REPO / "build" / "proof" / f"{_code_hash()}.jsonl")
    if given.seed is not None:
        for one in wanted:
            results.found.pop(one, None)
    try:
        asyncio.run(_prove(results, wanted, console))
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
    found = [results.found[one] for one in wanted if one in results.found]
    console.print(_table(found))
    bad = any(outcome.violations or not outcome.reached for outcome in found)
    return 1 if bad or len(found) < len(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
