"""What aiokafka goes on with although nobody waits for it any more."""

import asyncio
import logging

import pytest
from aiokafka.errors import NotCoordinatorForGroupError
from structlog.testing import capture_logs

from actionmap.consume.unawaited import tell_unawaited_errors


async def fail_unawaited(error: Exception) -> None:
    async def fails() -> None:
        raise error

    await asyncio.wait({asyncio.ensure_future(fails())})


async def test_an_error_of_kafka_that_nobody_awaits_is_told_in_one_line_and_any_other_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tell_unawaited_errors()
    with capture_logs() as logs, caplog.at_level(logging.ERROR, "asyncio"):
        await fail_unawaited(NotCoordinatorForGroupError())
        assert [(line["event"], line["error"]) for line in logs] == [("kafka.unawaited", "NotCoordinatorForGroupError")]
        assert caplog.records == []
        await fail_unawaited(ValueError("of our own"))
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]
