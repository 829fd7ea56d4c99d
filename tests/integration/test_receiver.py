"""The receiver of `demo` and `dev` takes whatever a rule may send."""

import httpx
import pytest

from actionmap.demo.receiver import Receiver


@pytest.mark.parametrize("path", ["/", "/a/b?c=d", "/a%0Ab", "/%0A", "/a%2Fb", "/%C3%BC"])
async def test_every_path_is_taken(path: str) -> None:
    async with Receiver() as receiver, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(receiver.url + path)).status_code == 200
        assert [one.path for one in receiver.requests] == [path]


@pytest.mark.parametrize(("keep", "kept"), [(None, ["/0", "/1", "/2"]), (2, ["/1", "/2"]), (0, [])])
async def test_only_so_many_requests_are_kept_as_was_asked(keep: int | None, kept: list[str]) -> None:
    async with Receiver(keep=keep) as receiver, httpx.AsyncClient(trust_env=False) as client:
        for number in range(3):
            await client.post(f"{receiver.url}/{number}")
        assert [one.path for one in receiver.requests] == kept
