"""`framegate evaluate` as a process: what it says of right and wrong analyzers, of its material, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.evaluate import Wish
from gateway.commands.evaluate import evaluate as run
from gateway.settings import Settings
from tests.evaluation.clips import make

pytestmark = pytest.mark.e2e

FALLS = '''
from gateway import Analyzer, Result, Sighting, hookimpl

class Falls(Analyzer):
    """Sees a fall from a settable moment on, for half a second."""
    name = "anomaly"
    event_types = ("fall",)
    def analyze(self, frame, memory):
        falling = {at} <= frame.at <= {at} + 0.5
        return Result(sightings=(Sighting("fall", linger_s=0.2),) if falling else ())

@hookimpl
def register_analyzers():
    return [Falls]
'''


def evaluate(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "evaluate", *arguments],
        cwd=home,
        env={**inherited, "FRAMEGATE_HOME": str(home / "data"), "FRAMEGATE_PLUGINS_OFF": '["anomaly"]', **environment},
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 3 s: in one somebody falls at 1 s, in the other nobody does."""
    folder = tmp_path_factory.mktemp("material") / "clips"
    folder.mkdir()
    for name in ("kitchen.mp4", "street.mp4", "stray.mp4"):
        make(folder / name, fps=5, seconds=3)
    truth = {"kitchen.mp4": {"kind": "anomaly: fall", "fall": [1.0, 1.5]}, "street.mp4": {"kind": "people walking"}}
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder.parent


def falls(folder: Path, at: float) -> str:
    (folder / "falls.py").write_text(FALLS.format(at=at))
    return str(folder / "falls.py")


@pytest.mark.slow
def test_a_clip_that_is_judged_wrongly_is_shown_with_its_times_and_the_exit_code_is_1(
    material: Path, tmp_path: Path
) -> None:
    wish = ("anomaly", "--variant", "original", "--plugin", falls(tmp_path, 1.15), "--json", "found.json")
    done = evaluate(*wish, "--media", str(material), home=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = {
        line.split()[1]: " ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("anomaly ")
    }
    assert lines["kitchen"] == "anomaly kitchen original ok fall at 1.2, true 1.0-1.5"
    assert lines["street"] == "anomaly street original FAIL fall: fall at 1.2"
    assert "stray.mp4: not in truth.json, skipped" in done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    (summary,) = found["summaries"]
    assert (summary["precision"], summary["recall"], summary["checks"], summary["passed"]) == (0.5, 1.0, 2, 1)
    assert (summary["delay_s"], summary["false_per_hour"]) == pytest.approx((0.2, 3600 / 5.6), rel=1e-3)
    assert (found["passed"], found["analyzers"], found["not_run"]) == (False, {"anomaly": "1"}, {})


def test_all_that_holds_is_exit_code_0_and_markdown_has_a_column_for_each_variant(
    material: Path, tmp_path: Path
) -> None:
    wish = ("anomaly", "--clip", "kitchen", "--variant", "original,mirrored,before", "--markdown", "--jobs", "2")
    done = evaluate(*wish, "--media", str(material), "--plugin", falls(tmp_path, 1.0), home=tmp_path)
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "kitchen" in line
    ]
    assert table == [["anomaly", "kitchen", "ok", "ok", "FAIL: fall: fall at -19.0, true 1.0-1.5"]]
    assert done.returncode == 1  # the plugin means 1 s after the stream began, whatever it shows


@pytest.mark.slow
def test_a_suite_that_cannot_run_is_named_with_the_reason_and_the_exit_code_is_2(
    material: Path, tmp_path: Path
) -> None:
    done = evaluate("smoking", "--media", str(material), "--quick", home=tmp_path)
    assert done.returncode == 2
    assert "not run: smoking: " in done.stdout


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Wish("bags"), "where is the material? Give --media DIR or set FRAMEGATE_MEDIA_DIR"),
        (Wish("beards", Path()), "there is no suite beards; there are all, bags, smoking, "),
        (Wish("bags", Path("nowhere")), "nowhere: no such file or folder"),
        (Wish("bags", Path()), ".: nothing labelled in it; docs/accuracy.md has the formats"),
        (Wish("./mine.toml"), "mine.toml: no such file or folder"),
        (Wish("bags", Path(), analyzers="faces"), "none of the suites judges faces"),
        (Wish("bags", Path("material"), "sideways"), "there is no variant sideways; there are core, all, original, "),
        (Wish("bags", Path("material"), clips=("attic",)), "there is no clip attic; there are kitchen, street"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    material: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wish: Wish,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FRAMEGATE_MEDIA_DIR", raising=False)
    (tmp_path / "material").symlink_to(material)
    assert run(Settings(home=tmp_path), wish) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("evaluate: ")
    assert line in printed.err
    assert len(printed.err.splitlines()) == 1
