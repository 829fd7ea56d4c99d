"""`actionmap serve` and `actionmap run` as in production: two processes, settings by environment."""

from pathlib import Path

from processes import check_main_path


async def test_an_event_over_http_becomes_a_webhook_and_both_processes_end_in_order(
    broker: str, valkey: str, unique: str, tmp_path: Path
) -> None:
    await check_main_path(broker, valkey, unique, tmp_path)
