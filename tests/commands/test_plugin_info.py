"""`framegate plugin info`: what an analyzer is and lacks, as its worker tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.plugin_info import plugin_info
from gateway.settings import Settings

PLATES = """
from dataclasses import dataclass
from gateway import Analyzer, Result, hookimpl

@dataclass(frozen=True)
class Options:
    side: int = 320
    country: str | None = None

class Plates(Analyzer):
    '''Reads number plates.'''
    name = "plates"
    needs = ("objects",)
    labels = ("plate", "car")
    event_types = ("plates.read",)
    permissions = ("network",)
    Options = Options

    def analyze(self, frame, memory):
        return Result()

@hookimpl
def register_analyzers():
    return [Plates]
"""


def settings(home: Path, **more: Any) -> Settings:
    """One plugin in the plugins folder, and of ours only `motion`."""
    (home / "plugins").mkdir()
    (home / "plugins" / "plates.py").write_text(PLATES)
    return Settings(home=home, models_dir="", yolo_model_path="", plugins_off=["objects", "smoking"], **more)


def test_an_analyzer_is_told_with_its_options_and_what_it_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    granted = {"plugin_permissions": {"plates": ["network"]}, "analyzers": {"plates": {"fps": 5, "labels": ["plate"]}}}
    assert plugin_info(settings(tmp_path, **granted), "plates", json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "plates",
        "  state       ready",
        "  title       Reads number plates.",
        f"  plugin      plates, {(tmp_path / 'plugins' / 'plates.py').resolve()} 1",
        "  api         >=1,<2",
        "  needs       objects",
        "  wants       -",
        "  labels      plate, car",
        "  event types plates.read",
        "  permissions network",
        "",
        "  OPTION   TYPE            DEFAULT",
        "  side     integer         320",
        "  country  string or null  null",
    ]


def test_what_it_may_not_is_its_state_and_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin_info(settings(tmp_path), "plates", json=True) == 1
    (about,) = json.loads(capsys.readouterr().out)["analyzers"]
    assert about["failed"].startswith("plugin_denied: it asks for network;")
    assert about["source"]["path"] == str((tmp_path / "plugins" / "plates.py").resolve())


def test_a_name_that_is_none_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no analyzer plate; did you mean plates\?"):
        plugin_info(settings(tmp_path), "plate", json=False)


def test_a_plugin_that_does_not_load_is_told_with_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tmp_path)
    (tmp_path / "plugins" / "plates.py").write_text("import nothing_like_that\n")
    assert plugin_info(chosen, "plates", json=False) == 1
    assert "ModuleNotFoundError: No module named 'nothing_like_that'" in capsys.readouterr().out
