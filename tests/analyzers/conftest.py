"""Where the real weights and pictures are, for the tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: {what} are missing")
    return Path(value)


@pytest.fixture
def models() -> Path:
    return _folder("FRAMEGATE_MODELS_DIR", "real weights")


@pytest.fixture
def media() -> Path:
    return _folder("FRAMEGATE_MEDIA_DIR", "real pictures and clips")
