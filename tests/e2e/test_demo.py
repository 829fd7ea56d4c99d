"""`actionmap demo`: the whole promise in one command."""

import asyncio
from pathlib import Path

from processes import PATIENCE_S, running

RULES = Path(__file__).parents[2] / "rules"


async def test_the_demo_ends_by_itself_and_every_expected_webhook_arrived(tmp_path: Path) -> None:
    async with running("demo", "--rate", "5000", "--rules", str(RULES), cwd=tmp_path) as demo:
        await demo.says("Every expected webhook arrived, once decided, signed and verified.")
        async with asyncio.timeout(PATIENCE_S):
            assert await demo._process.wait() == 0
    said = demo.output()
    for line in ("What the maps did", "events ", "decisions ", "webhooks ", "event to webhook", "took "):
        assert f"\n{line}" in said
    assert "0 unexpected, 0 refused" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
