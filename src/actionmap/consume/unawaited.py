"""Errors of what aiokafka goes on with although nobody waits for it any more."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaError

from actionmap.telemetry import logger


def tell_unawaited_errors() -> None:
    """Let the running loop tell in one line of Kafka's errors in futures that nobody awaits.

    aiokafka shields a commit, so that of one that was given up in time the request goes on, and may fail minutes later.
    That has no consequence, and needs no traceback in the log.
    """
    log = logger("consume")

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, KafkaError):
            log.info("kafka.unawaited", error=type(error).__name__)
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(tell)
