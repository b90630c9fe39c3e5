"""A wheel of this checkout, and a fresh environment it is installed in, made once for who asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure.fresh import Environment, build_wheel, make_environment
from tests.structure.source import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def fresh(tmp_path: Path, wheel: Path) -> Environment:
    return make_environment(tmp_path / "venv", wheel)
