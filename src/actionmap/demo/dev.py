"""`actionmap dev`: the embedded stack, kept running on loopback, with definitions and visitors kept in a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from starlette.middleware.trustedhost import TrustedHostMiddleware

from actionmap.app import build_api, egress_words, watch_golive
from actionmap.catalog.folder import read_rules
from actionmap.delivery import Attempt, Delivery
from actionmap.demo.screen import printable
from actionmap.demo.stack import Stack, open_stack
from actionmap.embedded import free_port
from actionmap.engine import Watchers
from actionmap.process import address_of, listen, run_until_signal
from actionmap.serving import serve_http


async def run_dev(rules: Path | None, data: Path, port: int, kafka_port: int, tell: Callable[[str], None]) -> None:
    """Run until a signal.

    Args:
        rules: Definitions to apply at the start; None takes ``./rules`` where it exists and ``data`` has none yet.
        data: Folder for definitions and visitors.
        port: Where collector and admin listen on loopback; 0 takes any free port.
        kafka_port: Where the embedded broker listens; 0 takes any free port.
        tell: Told each step, in words for people.

    Raises:
        ActionmapError: a part does not start; the message says why and what to do.
    """
    definitions = read_rules(rules) if rules else None
    first_rules = Path("rules") if Path("rules").is_dir() else None

    def on_attempt(delivery: Delivery, attempt: Attempt) -> None:
        answer = attempt.status or attempt.error
        line = f"{delivery.action_map} → {delivery.webhook} for {delivery.visitor_id}: {attempt.outcome} ({answer})"
        tell(printable(line))

    # Taken before anything starts, so that a taken port is told at once.
    with listen("127.0.0.1", port) as listener, listen("127.0.0.1", kafka_port) as reserved:
        broker_port = reserved.getsockname()[1] or free_port()
        reserved.close()
        watchers = Watchers(on_attempt=on_attempt)
        async with open_stack(data, definitions, watchers, tell, first_rules=first_rules, broker_port=broker_port,
                              keep_received=0) as stack:  # fmt: skip
            api = build_api(stack.parts, stack.producer, stack.partitions, stack.engine.sender, open_access=True,
                            secret_is_set=stack.secret_is_set)  # fmt: skip
            # Without keys, a page of another site could speak to us under a name of its own that leads to loopback.
            api.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
            _tell_definitions(stack, was_read=definitions is not None, tell=tell)
            greeting = asyncio.create_task(_greet(stack, address_of(listener), data, tell))
            try:
                await run_until_signal(stack.engine.run(), stack.engine.stop, serve_http(api, listener),
                                       watch_golive(stack.parts))  # fmt: skip
            finally:
                greeting.cancel()
    tell("stopped; definitions and visitors are kept in " + str(data))


def _tell_definitions(stack: Stack, *, was_read: bool, tell: Callable[[str], None]) -> None:
    """Tell where the definitions are from."""
    if stack.continues:
        tell("continuing with the definitions and visitors of the last start; events not yet evaluated then are gone")
    if stack.continues and not was_read:
        tell("files are not read again: change definitions with actionmap apply DIR, or start with --rules DIR")
    if refused := stack.parts.registry.refused:
        tell(f"the definitions are not in use, and nothing fires: {refused}")
    elif not stack.parts.registry.definitions:
        tell("there are no definitions: nothing fires until some are loaded with actionmap apply DIR")


async def _greet(stack: Stack, url: str, data: Path, tell: Callable[[str], None]) -> None:
    """Tell where everything is, and when the engine evaluates."""
    settings = stack.parts.settings
    tell(f"collector   {url}/v1/events")
    tell(f"admin       {url}/api/v1   (described at {url}/openapi.json; loopback needs no key)")
    tell(f"Kafka       {settings.kafka_bootstrap_servers}, topic {settings.events_topic}")
    tell(f"Redis       {settings.redis_url}")
    tell(f"receiver    {stack.receiver.url}   (gets the webhooks of integrations with sample hosts: *.example.com, …)")
    tell(f"egress      {egress_words(settings)}")
    tell(f"data        {data}")
    await stack.engine.consumer.assigned.wait()
    maps = len(stack.parts.registry.rulebook.maps)
    tell(f"ready: {maps} active action maps. Ctrl-C stops.")
