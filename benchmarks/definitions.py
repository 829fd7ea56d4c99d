"""What a large set of definitions costs people who look at it and change it: a real server with its store, over REST.

    python benchmarks/definitions.py [--maps 10000] [--rounds 5]

A server (`actionmap dev`, in a process of its own) is given so many action maps; then a page is listed, one is found,
the set is planned unchanged and with one change, one map is switched, and the folder is planned by the command line.
Medians are printed, and their ratio to what reading the set as JSON takes here; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

RULES: list[dict[str, Any]] = [
    {"kind": "Integration", "name": "shop", "baseUrl": "https://shop.example.com"},
    {
        "kind": "DataAction", "name": "tell", "integration": "shop", "state": "published",
        "contract": {"input": {"type": "object", "properties": {"visitor": {"type": "string"}}}},
    },
    {
        "kind": "Webhook", "name": "tell-shop", "dataAction": "tell", "state": "published",
        "mappings": {"visitor": {"lookup": "visitor.id"}},
    },
]  # fmt: skip


def a_map(number: int) -> dict[str, Any]:
    """The action map of that number."""
    path = {"key": "event.page.pathname", "operator": "startsWith", "values": [f"/products/{number}"]}
    often = {"key": "visitor.sessionCount", "operator": "greaterThan", "values": [number % 9]}
    return {
        "kind": "ActionMap", "name": f"map-{number}", "description": f"Visitors of product {number}",
        "trigger": {"all": [{"event": "page_viewed", "where": [path]}, often]},
        "schedule": {"timezone": "Europe/Berlin", "open": ["mon-fri 09:00-18:00"]},
        "frequency": {"max": 2, "per": "24h"}, "action": {"webhook": "tell-shop"},
    }  # fmt: skip


def start(folder: Path, data: Path) -> tuple[subprocess.Popen[str], str]:
    """A server of the definitions in ``folder``, and its URL."""
    command = [sys.executable, "-m", "actionmap", "dev", "--rules", str(folder), "--data", str(data), "--port", "0",
               "--kafka-port", "0"]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    url = ""
    for line in server.stdout:
        if line.startswith("admin"):
            url = line.split()[1]
        if line.startswith("ready"):
            return server, url
    raise SystemExit("the server did not start")


def median_of(rounds: int, call: Callable[[], Any]) -> float:
    """Median seconds of ``call``."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(url: str, folder: Path, documents: list[dict[str, Any]], rounds: int) -> None:
    """Print what each kind of request takes."""
    body = json.dumps({"definitions": documents})
    changed = json.dumps({"definitions": [*documents[:-1], {**documents[-1], "priority": "high"}]})
    headers = {"Content-Type": "application/json"}
    environment = {**os.environ, "ACTIONMAP_API_URL": url.removesuffix("/api/v1")}
    with httpx.Client(timeout=120, headers=headers, trust_env=False) as client:

        def ask(method: str, path: str, **more: Any) -> None:
            client.request(method, url + path, **more).raise_for_status()

        def by_hand(command: str) -> None:
            subprocess.run([sys.executable, "-m", "actionmap", command, str(folder)], env=environment, check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip

        floor = median_of(rounds, lambda: json.loads(body))
        asked: list[tuple[str, Callable[[], Any]]] = [
            ("list a page", lambda: ask("GET", "/action-maps", params={"limit": 100})),
            ("search, newest first", lambda: ask("GET", "/action-maps", params={"search": "77", "sort": "-updatedAt"})),
            ("plan, nothing changed", lambda: ask("PUT", "/definitions", params={"dryRun": "true"}, content=body)),
            ("plan, one changed", lambda: ask("PUT", "/definitions", params={"dryRun": "true"}, content=changed)),
            (
                "deactivate, activate",
                lambda: [ask("POST", f"/action-maps/map-7/{verb}activate") for verb in ("de", "")],
            ),
            ("actionmap plan FOLDER", lambda: by_hand("plan")),
        ]
        print(f"{len(documents):,} definitions; reading them as JSON takes {floor * 1000:.0f} ms")
        for name, call in asked:
            took = median_of(rounds, call)
            print(f"{name:24}{took * 1000:8.0f} ms  {took / floor:6.1f} times that")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    documents = [*RULES, *(a_map(number) for number in range(given.maps - len(RULES)))]
    with tempfile.TemporaryDirectory() as temporary:
        folder, data = Path(temporary, "rules"), Path(temporary, "data")
        folder.mkdir()
        for first in range(0, len(documents), 1000):
            # JSON is YAML, too.
            text = "\n---\n".join(json.dumps(one) for one in documents[first : first + 1000])
            (folder / f"{first}.yaml").write_text(text)
        server, url = start(folder, data)
        try:
            measure(url, folder, documents, given.rounds)
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
