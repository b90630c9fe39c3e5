"""`framegate plugins`: what each plugin brings and lacks, told by worker processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.commands.plugins import plugins
from gateway.settings import Settings

GOOD = """
from gateway import Analyzer, Result, hookimpl

class Nothing(Analyzer):
    name = "nothing"
    def analyze(self, frame, memory):
        return Result()

@hookimpl
def register_analyzers():
    return [Nothing]
"""


def settings(folder: Path, *files: Path) -> Settings:
    return Settings(home=folder, models_dir="", plugins=[str(file) for file in files], yolo_model_path="")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_built_ins_and_files_are_listed_with_their_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plugins(settings(tmp_path, write(tmp_path / "mine.py", GOOD)), json=True) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)["plugins"]}
    assert {"motion", "mine"} <= found.keys()
    assert [(one["name"], one["missing"]) for one in found["motion"]["analyzers"]] == [("motion", None)]
    assert [one["name"] for one in found["mine"]["analyzers"]] == ["nothing"]


def test_a_plugin_that_fails_or_crashes_is_a_line_and_hurts_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crashing = write(tmp_path / "crashing.py", "import os\nos._exit(3)\n")
    failing = write(tmp_path / "failing.py", "import nothing_like_that\n")
    assert plugins(settings(tmp_path, crashing, failing), json=False) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "exit code 3" in lines["crashing"]
    assert "No module named 'nothing_like_that'" in lines["failing"]
    assert lines["motion"].endswith("ready")


def test_permissions_are_listed_with_the_operators_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asking = GOOD.replace("    def analyze", '    permissions = ("network", "files")\n    def analyze')
    file = write(tmp_path / "asking.py", asking)
    chosen = settings(tmp_path, file).model_copy(update={"plugin_permissions": {"asking": ["files"]}})
    assert plugins(chosen, json=False) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("asking"))
    assert " files granted, network denied " in line
    assert line.endswith('[plugin_permissions]: "asking" = ["files", "network"]')


def test_a_plugin_that_is_only_looked_at_gets_no_secret_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEGATE_AUTH_TOKEN", "canary")
    looking = GOOD.replace('name = "nothing"', 'name = "nothing"\n    title = repr(dict(__import__("os").environ))')
    assert plugins(settings(tmp_path, write(tmp_path / "looking.py", looking)), json=True) == 0
    said = capsys.readouterr().out
    assert "FRAMEGATE_HOME" in said
    assert "canary" not in said
