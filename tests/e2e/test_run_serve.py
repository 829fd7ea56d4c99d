"""`actionmap serve` and `actionmap run` as in production: two processes, settings by environment."""

from pathlib import Path

from actionmap.embedded import EMBEDDED_SESSION_TIMEOUT_MS
from processes import check_main_path


async def test_an_event_over_http_becomes_a_webhook_and_both_processes_end_in_order(
    broker: str, valkey: str, unique: str, tmp_path: Path
) -> None:
    # The embedded broker would wait for half of the usual 45 s; tests/kafka goes the same way without this setting.
    session = {"ACTIONMAP_KAFKA_SESSION_TIMEOUT": f"{EMBEDDED_SESSION_TIMEOUT_MS // 1000}s"}
    await check_main_path(broker, valkey, unique, tmp_path, more=session)
