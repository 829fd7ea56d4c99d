"""Commands that run the server, or a part of it: demo, dev, run, serve, openapi.

Each imports what it runs when it runs: that takes a second or two, which ``--help`` shall not take.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actionmap.cli.output import NO, YES, fail, note, out, print_json
from actionmap.errors import SettingsError, Stuck

if TYPE_CHECKING:
    from actionmap.settings import Settings
    from actionmap.supervise import Command

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="File of settings, lines ACTIONMAP_NAME=value.", show_default=False)
]

_LAST_PORT = 65_535


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    for command in (demo, dev, run, serve, openapi):
        app.command()(command)


def _settings(file: Path | None) -> Settings:
    from actionmap.settings import load_settings
    from actionmap.telemetry import configure_logging

    settings = load_settings(file)
    configure_logging(settings.log_level, settings.log_format)
    return settings


def demo(
    rules: Annotated[Path, typer.Option(help="Folder with the definitions.")] = Path("rules"),
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = 400,
) -> None:
    """Run the main job on embedded parts with sample events, show what fires and why, then stop."""
    from actionmap.catalog.folder import read_rules
    from actionmap.demo.run import percentile, run_demo
    from actionmap.demo.screen import Screen
    from actionmap.telemetry import configure_logging

    configure_logging("warning", "text")
    screen = Screen(out)
    outcome = asyncio.run(run_demo(read_rules(rules), screen, rate=rate))
    latencies = outcome.latencies_ms()
    screen.summary(outcome, percentile(latencies, 0.5), percentile(latencies, 0.99))
    raise typer.Exit(YES if outcome.is_complete else NO)


def dev(
    rules: Annotated[
        Path | None,
        typer.Option(help="Definitions to apply at the start; by default ./rules, the first time.", show_default=False),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder for definitions and visitors.")] = Path(".actionmap"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of collector and admin; 0: any.")] = 8080,
    kafka_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the embedded broker; 0: any.")] = 9092,
) -> None:
    """Run the same embedded stack until Ctrl-C: collector, engine and admin on loopback."""
    from actionmap.demo.dev import run_dev
    from actionmap.telemetry import configure_logging

    configure_logging("warning", "text")
    asyncio.run(run_dev(rules, data, port, kafka_port, lambda text: out.print(text, markup=False)))


def run(
    settings: SettingsFile = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes.")] = 1,
) -> None:
    """Evaluate events and deliver webhooks, against real Kafka and Redis."""
    from actionmap.app import run_engine
    from actionmap.supervise import Supervisor

    loaded = _settings(settings)
    if workers > 1:
        commands = [_worker(settings, port) for port in _metrics_ports(loaded.metrics_port, workers)]
        raise typer.Exit(asyncio.run(Supervisor(commands).run()))
    _tell_egress(loaded)
    try:
        asyncio.run(run_engine(loaded, lambda url: note(f"engine: health and metrics at {url}")))
    except Stuck as error:
        fail(str(error))
        raise typer.Exit(NO) from None


def _metrics_ports(first: int, workers: int) -> list[int]:
    if first and first + workers - 1 > _LAST_PORT:
        raise SettingsError(
            f"ACTIONMAP_METRICS_PORT: {workers} workers take as many ports from {first} on, and there are only "
            f"{_LAST_PORT}; choose a lower one, or 0 for any"
        )
    return [first + number if first else 0 for number in range(workers)]


def _worker(settings: Path | None, metrics_port: int) -> Command:
    from actionmap.supervise import Command

    file = ["--settings", str(settings)] if settings else []
    return Command([sys.executable, "-m", "actionmap", "run", *file], {"ACTIONMAP_METRICS_PORT": str(metrics_port)})


def serve(settings: SettingsFile = None) -> None:
    """Serve collector and admin REST, against real Kafka and Redis."""
    from actionmap.app import run_server

    loaded = _settings(settings)
    _tell_egress(loaded)
    asyncio.run(
        run_server(loaded, lambda url: note(f"collector and admin REST at {url}, described at {url}/openapi.json"))
    )


def _tell_egress(settings: Settings) -> None:
    from actionmap.app import egress_words

    note(f"egress: {egress_words(settings)}")


def openapi() -> None:
    """Print the OpenAPI document of collector and admin REST."""
    from actionmap.app import describe_api

    print_json(describe_api())
