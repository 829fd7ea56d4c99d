"""Matching: µs an event by the number of active maps, ours beside other engines, in one run.

    python benchmarks/matching.py [--sizes 10 100 1000 10000 100000] [--box 20] [--picture docs/matching.png]

Each measurement is a process of its own. What is timed is the match alone: for ours the candidates of the index and
their tests, on scopes that the engine's own `observe` made; for the others the fields that maps ask for, flat. Before
that, every engine's answers are compared with a naive tree walk. An engine that is not installed, or would need more
than the time box for a hundred events, is shown as not run. The machines are noisy: read ratios. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from actionmap.process import tune_garbage_collector
from matching_engines import ENGINES, Naive, flat
from matching_ours import Ours
from matching_state import figures
from matching_workload import events, maps

OURS = "actionmap"
NAMES = [OURS, *ENGINES]
SIZES = [10, 100, 1_000, 10_000, 100_000]
ADVERSARIAL = {"unselective": (OURS, "generated code"), "hot page": (OURS, "generated code")}
#: Seconds that one measurement times, and events that it goes through at least.
SECONDS, LEAST = 2.0, 20
CHUNKS = 5

Figures = dict[str, Any]


def measure(name: str, mix: str, number: int) -> Figures:
    """Everything about one engine with ``number`` maps of ``mix``, in this process."""
    trees = maps(mix, number)
    gc.collect()
    before = _resident()
    started = time.perf_counter()
    engine = Ours(trees) if name == OURS else ENGINES[name][0](trees)
    build = time.perf_counter() - started
    gc.collect()
    memory = (_resident() - before) / number
    sample = events(2_000, number)
    prepared = [engine.prepare(event) for event in sample]
    different, matches = _compared(engine, prepared, sample, trees)
    tune_garbage_collector()
    full = gc.get_stats()[2]["collections"]
    us = _timed(engine.matching if isinstance(engine, Ours) else engine.match, prepared)
    return {
        "us": us,
        "build": build,
        "memory": memory,
        "full collections": gc.get_stats()[2]["collections"] - full,
        "different": different,
        "matches": matches,
        "index": engine.index_bytes() / number if isinstance(engine, Ours) else None,
        "update": _updated(engine, mix, number),
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 if sys.platform == "linux" else 0


def _compared(engine: Any, prepared: list[Any], sample: list[Any], trees: list[Any]) -> tuple[int, float]:
    """How many events are answered otherwise than by the naive walk, and matches an event."""
    naive = Naive(trees)
    some = range(max(LEAST, min(300, 1_000_000 // len(trees))))
    expected = [set(naive.match(flat(sample[at]))) for at in some]
    different = sum(set(engine.match(prepared[at])) != expected[at] for at in some)
    return different, sum(map(len, expected)) / len(some)


def _timed(match: Any, prepared: list[Any]) -> float:
    """µs an event: the median of some chunks."""
    rounds: list[float] = []
    size = LEAST // CHUNKS
    at = 0
    while sum(rounds) < SECONDS or len(rounds) < CHUNKS:
        chunk = [prepared[(at + step) % len(prepared)] for step in range(size)]
        started = time.perf_counter()
        for one in chunk:
            match(one)
        taken = time.perf_counter() - started
        if taken < SECONDS / 50:
            size *= 2
            rounds.clear()
        rounds.append(taken)
        at += len(chunk)
    return median(rounds[-CHUNKS * 8 :]) / size * 1e6


def _updated(engine: Any, mix: str, number: int) -> float:
    """Milliseconds until one changed map is in force."""
    dice = random.Random("updates")
    others = maps(mix, number + 5)[number:]
    taken = []
    for tree in others:
        started = time.perf_counter()
        engine.change(dice.randrange(number), tree)
        taken.append(time.perf_counter() - started)
        if sum(taken) > SECONDS:
            break
    return median(taken) * 1e3


def run(name: str, mix: str, number: int, box_s: float, smaller: Figures | None) -> Figures:
    """`measure` in a child; or ``{"why": …}`` when it is not run."""
    if name in ENGINES and find_spec(ENGINES[name][1]) is None:
        return {"why": "not installed"}
    if smaller is not None and "why" in smaller:
        return {"why": smaller["why"]}
    if smaller is not None and name != OURS and smaller["us"] * 10 * 100 / 1e6 > box_s:
        return {"why": f"over {box_s:.0f} s for 100 events"}
    if smaller is not None and name == "durable-rules" and smaller["memory"] * number > 4e9:
        return {"why": f"{smaller['memory'] * number / 1e9:.0f} GB of memory"}
    command = [sys.executable, __file__, "--child", name, mix, str(number)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * box_s, check=False)
    except subprocess.TimeoutExpired:
        return {"why": "took too long"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"why": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:60]}
    found: Figures = json.loads(lines[-1])
    return found


def table(title: str, found: dict[str, dict[int, Figures]], what: str, form: str) -> None:
    """Print one figure of every engine and size."""
    sizes = sorted({size for of_engine in found.values() for size in of_engine})
    print(f"\n{title}\n{'':<18}" + "".join(f"{size:>12,}" for size in sizes))
    for name, of_engine in found.items():
        cells = [of_engine[size].get(what) if size in of_engine else None for size in sizes]
        print(f"{name:<18}" + "".join(f"{'–' if cell is None else format(cell, form):>12}" for cell in cells))


def notes(found: dict[str, dict[int, Figures]]) -> None:
    """Say what was not run, and who answered otherwise than the naive walk."""
    for name, of_engine in found.items():
        for size, one in of_engine.items():
            if "why" in one:
                print(f"not run: {name} with {size:,} maps: {one['why']}")
            elif one["different"]:
                print(f"DIFFERENT: {name} with {size:,} maps answers {one['different']} events otherwise")


def ratios(found: dict[str, dict[int, Figures]], adversarial: dict[str, dict[str, dict[int, Figures]]]) -> None:
    """Print what the figures come to."""
    ours = {size: one["us"] for size, one in found[OURS].items() if "us" in one}
    libraries = [name for name in ENGINES if name not in ("naive tree walk", "generated code")]
    fastest = {name: found[name][10_000]["us"] for name in libraries if "us" in found[name].get(10_000, {})}
    print()
    if fastest and 10_000 in ours:
        name = min(fastest, key=lambda one: fastest[one])
        print(f"fastest library at 10,000 maps ({name}) / ours: {fastest[name] / ours[10_000]:.0f}")
    for mix, results in (("realistic", found), *adversarial.items()):
        of_ours, of_generated = (results[name].get(100_000, {}).get("us") for name in (OURS, "generated code"))
        if of_ours and of_generated:
            print(f"generated code / ours at 100,000 maps, {mix}: {of_generated / of_ours:.0f}")
    if 1_000 in ours and 100_000 in ours:
        print(f"ours at 100,000 maps / at 1,000: {ours[100_000] / ours[1_000]:.1f}")


def picture(found: dict[str, dict[int, Figures]], file: Path) -> None:
    """µs an event by number of maps, a line an engine, both axes logarithmic."""
    if find_spec("matplotlib") is None:
        print(f"no picture: matplotlib is not installed ({file})")
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), dpi=120)
    for name, of_engine in found.items():
        points = [(size, one["us"]) for size, one in sorted(of_engine.items()) if "us" in one]
        if points:
            own = {"linewidth": 3.0, "color": "black", "zorder": 5} if name == OURS else {"linewidth": 1.3}
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **own)
    axes.set(xscale="log", yscale="log", xlabel="active maps", ylabel="µs an event (lower is better)",
             title="Which maps match an event")  # fmt: skip
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(file)
    print(f"picture: {file}")


def main(arguments: Sequence[str]) -> None:
    """Run as parent, or as the child that the parent starts."""
    if arguments[:1] == ["--child"]:
        print(json.dumps(measure(arguments[1], arguments[2], int(arguments[3]))), flush=True)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--box", type=float, default=20.0)
    parser.add_argument("--engines", nargs="+", default=NAMES)
    parser.add_argument("--picture", type=Path, default=Path(__file__).parents[1] / "docs" / "matching.png")
    given = parser.parse_args(arguments)
    found = _all(given.engines, "realistic", given.sizes, given.box)
    adversarial = {
        mix: _all(names, mix, [size for size in given.sizes if size >= 1_000], given.box)
        for mix, names in ADVERSARIAL.items()
    }
    table("µs an event", found, "us", ",.1f")
    table("matches an event (naive)", {OURS: found[OURS]}, "matches", ".2f")
    table("seconds to build", found, "build", ",.3f")
    table("ms until one changed map is in force", found, "update", ",.3f")
    table("bytes a map, as the process grew", found, "memory", ",.0f")
    table("bytes a map, the index alone", {OURS: found[OURS]}, "index", ",.0f")
    table("full garbage collections while timed", {OURS: found[OURS]}, "full collections", ".0f")
    for mix, results in adversarial.items():
        table(f"µs an event, {mix}", results, "us", ",.1f")
    notes(found)
    ratios(found, adversarial)
    print("\na visitor as stored, with ten maps of counts, sequences and absences, and without any")
    for name, (bytes_with, bytes_without) in figures().items():
        print(f"{name:<34}{bytes_with:>8,} bytes{bytes_without:>8,} bytes")
    picture(found, given.picture)


def _all(names: Sequence[str], mix: str, sizes: Sequence[int], box_s: float) -> dict[str, dict[int, Figures]]:
    found: dict[str, dict[int, Figures]] = {name: {} for name in names}
    smaller: dict[str, Figures] = {}
    # What is compared is measured close together: the machine is slower at some times than at others.
    for size in sorted(sizes):
        for name in names:
            print(f"{mix}: {name} with {size:,} maps …", file=sys.stderr)
            smaller[name] = found[name][size] = run(name, mix, size, box_s, smaller.get(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
