"""Everything in one process on loopback: embedded broker and store, collector, engine, admin, and a receiver."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actionmap.app import Parts, open_parts, open_producer, prepare_topic
from actionmap.catalog.folder import read_rules
from actionmap.catalog.models import Integration
from actionmap.catalog.parse import Definitions
from actionmap.catalog.plan import Change, plan
from actionmap.collect.producer import EventProducer
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.demo.receiver import Receiver
from actionmap.demo.sandbox import SandboxSender, add_sample_secrets, signed_paths
from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS, embedded_broker, embedded_store, free_port
from actionmap.engine import Engine, Options, Watchers
from actionmap.process import wall_clock
from actionmap.registry import Edit
from actionmap.settings import Settings, load_settings
from actionmap.vault import new_key

#: Enough to see visitors spread, few enough to start at once.
EMBEDDED_PARTITIONS = 4


@dataclass(slots=True, kw_only=True)
class Stack:
    """The running parts."""

    parts: Parts
    engine: Engine
    producer: EventProducer
    receiver: Receiver
    partitions: int
    #: The environment, and made-up secrets of sample integrations.
    secrets: dict[str, str]
    #: Whether it goes on with definitions of a former start.
    continues: bool = False

    def secret_is_set(self, name: str) -> bool:
        """Whether requests that need the secret ``name`` can be sent."""
        add_sample_secrets(self.secrets, integrations_of(self.parts))
        return bool(self.secrets.get(name))


def has_visitors(data: Path) -> bool:
    """Whether the folder ``data`` holds the store of a former start."""
    return (data / "store" / "appendonlydir").exists()


def integrations_of(parts: Parts) -> list[Integration]:
    """The integrations that are defined now."""
    return [some for some in parts.registry.definitions.values() if isinstance(some, Integration)]


@asynccontextmanager
async def open_stack(
    data: Path,
    rules: Definitions | None,
    watchers: Watchers,
    tell: Callable[[str], None] = lambda _: None,
    *,
    first_rules: Path | None = None,
    broker_port: int | None = None,
    keep_received: int | None = None,
) -> AsyncIterator[Stack]:
    """The embedded stack, not yet evaluating: run ``engine.run()``.

    Args:
        data: Folder for definitions and visitors; what is in it is taken over.
        rules: Definitions to apply at the start; None leaves those in ``data`` as they are.
        watchers: Called with what happens.
        tell: Told each step, in words for people.
        first_rules: Folder with the definitions to apply, if any, where ``rules`` is None and ``data`` has none yet.
        broker_port: Where the broker listens; None takes any free port.
        keep_received: How many requests the receiver remembers; None for all.

    Raises:
        Unreachable: a part does not start.
        SettingsError: the environment holds a wrong setting.
        DefinitionError: the definitions are wrong.
    """
    # What visitors told us is in it.
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    continued = has_visitors(data)
    broker_port, store_port = broker_port or free_port(), free_port()
    # Before anything starts, so that a wrong one is told at once.
    settings = _settings(data, broker_port, store_port)
    tell("starting the embedded broker (Tansu, in memory) and store (Valkey, every write on disk) …")
    async with (
        embedded_broker(broker_port, log=data / "broker.log"),
        embedded_store(data / "store", store_port),
        open_parts(settings) as parts,
    ):
        parts.partitions = EMBEDDED_PARTITIONS
        has_definitions = parts.registry.revision > 0 or parts.registry.refused != ""
        if rules is None and first_rules is not None and not has_definitions:
            rules = read_rules(first_rules, may_be_empty=True)
        if rules:
            changes = await apply_rules(parts, rules)
            tell(f"definitions: {len(rules)} read, {len(changes)} changed")
        # Offsets begin again with each broker; events of this one shall not pass for those of the last.
        log_name = f"{settings.events_topic}@{secrets.token_hex(4)}" if continued else ""
        options = Options(log_name=log_name, on_gap="continue", watchers=watchers)
        async with _connected(parts, options, keep_received) as stack:
            stack.continues = has_definitions
            yield stack


def _settings(data: Path, broker_port: int, store_port: int) -> Settings:
    return load_settings(
        kafka_bootstrap_servers=f"127.0.0.1:{broker_port}",
        redis_url=f"redis://127.0.0.1:{store_port}/0",
        events_topic_partitions=EMBEDDED_PARTITIONS,
        kafka_session_timeout=EMBEDDED_SESSION_TIMEOUT_MS / 1000,
        secrets_key=os.environ.get("ACTIONMAP_SECRETS_KEY") or _kept_key(data / "secrets.key"),
    )


def _kept_key(file: Path) -> str:
    """The key for secrets that ``file`` holds; made and written when there is none."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(new_key(), encoding="ascii")
    return file.read_text(encoding="ascii")


@asynccontextmanager
async def _connected(parts: Parts, options: Options, keep_received: int | None) -> AsyncIterator[Stack]:
    """Receiver, producer and engine on top of ``parts``; sample webhooks go to the receiver."""
    settings, values = parts.settings, dict(os.environ)
    partitions = await prepare_topic(settings)
    add_sample_secrets(values, integrations_of(parts))
    read = environment_secrets(values, settings.vault)
    async with (
        Receiver(signed_paths(integrations_of(parts), read), keep=keep_received) as receiver,
        HttpSender(EgressGuard(("127.0.0.1",)), read, clock=wall_clock) as to_receiver,
        await open_producer(settings, options.log_name) as producer,
    ):
        options.wrap_sender = lambda sender: SandboxSender(receiver, values, to_receiver, sender)
        engine = Engine(settings, options, parts.store, parts.registry, parts.metrics)
        parts.engine = engine
        yield Stack(parts=parts, engine=engine, producer=producer, receiver=receiver, partitions=partitions,
                    secrets=values)  # fmt: skip


async def apply_rules(parts: Parts, wanted: Definitions) -> list[Change]:
    """Make the stored definitions hold ``wanted``; returns what changed.

    Raises:
        DefinitionError: together with those already stored they do not compile.
    """
    registry = parts.registry
    changes: list[Change] = []

    def make() -> Edit:
        changes[:] = plan(registry.entries, registry.sealed(wanted), prune=False)
        return Edit({change.key: change.step for change in changes if change.step is not None})

    await registry.update(make, "dev")
    return [change for change in changes if change.step is not None]
