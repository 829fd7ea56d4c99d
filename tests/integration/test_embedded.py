"""The embedded store, as it starts in a folder that a former one has left."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from actionmap.embedded import embedded_store
from actionmap.errors import Unreachable


def left_behind(folder: Path, log: bytes) -> None:
    """What a store leaves in ``folder`` that was told ``log``."""
    (folder / "appendonlydir").mkdir()
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_bytes(b"file appendonly.aof.1.incr.aof seq 1 type i\n")
    (folder / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(log)


async def test_it_has_started_once_all_that_it_holds_is_loaded(tmp_path: Path) -> None:
    # It reads some hundred thousand commands a second, and listens from the beginning.
    left_behind(tmp_path, b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 300_000)
    async with embedded_store(tmp_path) as url, Redis.from_url(url, retry=None) as redis:
        assert await redis.get("n") == b"300000"


async def test_one_that_cannot_read_what_it_holds_says_where_to_look_at_once(tmp_path: Path) -> None:
    left_behind(tmp_path, b"what no store has written")
    with pytest.raises(Unreachable, match=r"did not start at .*; see .*valkey\.log"):
        async with embedded_store(tmp_path):
            pass
