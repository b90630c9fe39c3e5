"""What all tests share: where the real weights and clips are, a real server on a socket, and Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.chromium import browser, page, phone
from tests.server import Server, running

settings.register_profile("framegate", deadline=None)  # a busy machine is not a defect
settings.load_profile("framegate")

__all__ = ["browser", "page", "phone"]  # one Chromium for all folders: a second one in the same process cannot be


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway without weights, so `motion` is all it runs; shared, so every test opens streams of its own."""
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="session")
def models_dir() -> str:
    """The folders with real weights."""
    return _from_environment("FRAMEGATE_MODELS_DIR", "real weights")


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """The folder with real clips."""
    return Path(_from_environment("FRAMEGATE_MEDIA_DIR", "real clips"))


def _from_environment(name: str, what: str) -> str:
    if not (value := os.environ.get(name)):
        pytest.skip(f"needs {what}: set {name}")
    return value
