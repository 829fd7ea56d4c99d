"""A partition's fence as the hash that `redis.py` keeps it in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actionmap.store.protocols import Fence, Halt

#: What `redis.py` says each of them is.
FENCE_FIELDS = ("o", "tok", "own", "rev", "st", "cid", "np", "fp", "sta", "halt", "res", "reb", "ers")


def read_fence(fields: Sequence[bytes | None]) -> Fence:
    """The fence whose `FENCE_FIELDS` hold ``fields``, in that order; None where one is not set."""
    (offset, token, owner, revision, stream_time, cluster, partitions, fingerprint, time_at, halt, resume, reb,
     erasures) = fields  # fmt: skip
    return Fence(
        offset=int(offset) if offset is not None else -1,
        token=(token or b"").decode(),
        owner=(owner or b"").decode(),
        revision=int(revision or 0),
        stream_time=int(stream_time) if stream_time is not None else -1,
        cluster=(cluster or b"").decode(),
        partitions=int(partitions or 0),
        fingerprint=(fingerprint or b"").decode(),
        stream_time_at=int(time_at) if time_at is not None else -1,
        halted=msgspec.json.decode(halt, type=Halt) if halt else None,
        resume="rebuild" if resume == b"rebuild" else "continue" if resume else None,
        rebuilding=reb is not None,
        erasures=int(erasures or 0),
    )
