"""Waits that are random elsewhere are as short as they can be here."""

from types import SimpleNamespace

import pytest

from actionmap import engine
from actionmap.consume import kafka


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "random", SimpleNamespace(random=lambda: 0.0))
    monkeypatch.setattr(kafka, "_COMMIT_EVERY_S", 0.05)
