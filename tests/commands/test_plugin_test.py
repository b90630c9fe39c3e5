"""`framegate plugin test`: one deliberately bad plugin per rule is refused with the reason; good ones are not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.plugin_test import Wish, plugin_test
from gateway.settings import Settings
from gateway.testing.rules import BY_ID, RULES
from tests.structure.source import ROOT

pytestmark = pytest.mark.slow

BAD = ROOT / "tests" / "bad_plugins"
EXAMPLE = ROOT / "examples" / "framegate-brightness" / "framegate_brightness.py"

# The bad plugin, the rule that refuses it, and the reason.
REFUSED = {
    "import": ("import", "at import: opens a socket"),
    "import_slow": ("import", r"takes 1\.\d\d s to import; at most 1 s"),
    "import_heavy": ("import", "imports onnxruntime at the top of the module"),
    "contract": ("contract", "reports the label dog, which is not among its labels cat"),
    "contract_event": ("contract", r"event type fall has no name space; call it bad\.fall"),
    "options": ("options", "refuses its own default: analyzer bad, option level: Input should be a valid integer"),
    "exceptions": ("exceptions", "raises ZeroDivisionError: .* on frame 100 of the black pictures"),
    "json": ("json", r"ValueError: measures\.size must be finite, got nan"),
    "json_large": ("json", "a result of 520071 bytes; at most 262144"),
    "pictures": ("pictures", r"wrote to the shared picture to_bgr\(\) of frame 0"),
    "pictures_refused": ("pictures", "writes to the shared picture: ValueError: assignment destination is read-only"),
    "determinism": ("determinism", "frame 0 gave another result in another process: measure luck"),
    "determinism_set": ("determinism", "gave another result in another process: .* (vanished|appeared)"),
    "sessions": ("sessions", "frame 0 of one stream depends on the other stream: measure change"),
    "sizes": ("sizes", "raises ZeroDivisionError: .* on a picture of 1x1"),
    "sizes_change": ("sizes", "raises error: OpenCV.* when the size changes from scene-00 to 1x1"),
    "gaps": ("gaps", "raises ZeroDivisionError: .* after 0 s and 0 lost frames"),
    "deadline": ("deadline", r"frame 9 took 2\.\d\d s; the deadline is 2 s"),
    "batch": ("batch", r"frame 0 of a batch is not what analyze\(\) gives: measure"),
    "threads": ("threads", r"\d+ threads after 20 frames, \d+ after 80"),
    "memory": ("memory", r"grows by (0\.9|1\.[0-2])\d ± 0\.\d\d KB a frame over 1000 frames"),
    "memory_objects": ("memory", r"grows by 0\.\d\d ± 0\.\d\d KB a frame over 1000 frames"),
    "close": ("close", r"thread watcher still runs after close\(\)"),
    "close_file": ("close", "leaves files or sockets open: 4 more after 4 loads and closes"),
    "close_twice": ("close", r"a second close\(\) raises RuntimeError: there is no model any more"),
    "crash": ("sizes", r"analyze\(\) of frame 0 \(3x5\) killed the process \(SIGSEGV\)"),
    "crash_exit": ("gaps", r"analyze\(\) of frame 1000001 \(640x360\) ended the process \(exit code 3\)"),
}
LONG = ("threads", "deadline", "close", "memory")  # many frames, or a wait
ONE_EACH = sorted(REFUSED.keys() & BY_ID.keys())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, models_dir="", yolo_model_path="")


@pytest.fixture
def verdicts(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Any:
    """`verdicts(target, *rules)`: the exit code, and each rule's verdict."""

    def ask(target: object, *rules: str) -> tuple[int, dict[str, Any]]:
        code = plugin_test(settings, Wish(str(target), rules=rules, json=True))
        (analyzer,) = json.loads(capsys.readouterr().out)["analyzers"]
        return code, {one["rule"]: one for one in analyzer["verdicts"]}

    return ask


def test_there_is_a_bad_plugin_for_every_rule() -> None:
    assert [rule.id for rule in RULES if rule.id not in REFUSED] == ["quiet"]  # which only warns
    assert {path.stem for path in BAD.glob("*.py")} == {*REFUSED, "quiet", "deadline_hang"}


@pytest.mark.parametrize(
    "name",
    [name if name in BY_ID and name not in LONG else pytest.param(name, marks=pytest.mark.slow) for name in REFUSED],
)
def test_a_bad_plugin_is_refused_with_the_reason(name: str, verdicts: Any) -> None:
    rule, reason = REFUSED[name]
    if name == "import_heavy":
        pytest.importorskip("onnxruntime")
    code, found = verdicts(BAD / f"{name}.py", rule)
    assert (code, found[rule]["state"]) == (1, "refused")
    assert re.search(reason, found[rule]["reason"])
    assert found[rule]["mend"] == BY_ID[rule].mend


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ONE_EACH)
def test_no_other_rule_refuses_it(name: str, verdicts: Any) -> None:
    _, found = verdicts(BAD / f"{name}.py")
    assert [rule for rule, verdict in found.items() if verdict["state"] == "refused"] == [name]


@pytest.mark.slow
def test_a_call_that_hangs_is_ended_and_named(verdicts: Any) -> None:
    code, found = verdicts(BAD / "deadline_hang.py", "deadline", "json")
    assert code == 1
    assert found["deadline"]["reason"] == "analyze() of frame 2 (1280x720) did not return within 10 s"
    assert found["json"]["state"] == "holds"


def test_what_crashes_in_one_rule_is_judged_by_the_others(verdicts: Any) -> None:
    _, found = verdicts(BAD / "crash.py", "contract", "sizes", "json")
    assert [verdict["state"] for verdict in found.values()] == ["holds", "holds", "refused"]


def test_printing_is_a_warning_only(verdicts: Any) -> None:
    code, found = verdicts(BAD / "quiet.py", "quiet")
    assert (code, found["quiet"]["state"]) == (0, "warning")
    assert found["quiet"]["reason"] == "prints 790 bytes in 40 frames: looking at frame 0"


def test_two_streams_say_nothing_where_results_are_random(verdicts: Any) -> None:
    _, found = verdicts(BAD / "determinism.py", "determinism", "sessions")
    assert found["sessions"]["state"] == "unjudged"
    assert found["sessions"]["reason"] == "says nothing while determinism is refused"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", ["motion", str(EXAMPLE)])
def test_good_ones_keep_every_rule(target: str, verdicts: Any) -> None:
    code, found = verdicts(target)
    wrong = {rule: one["reason"] for rule, one in found.items() if one["state"] not in ("holds", "unjudged")}
    assert (code, wrong) == (0, {})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", ["objects", "smoking"])
def test_built_ins_with_real_weights_keep_every_rule(
    target: str, models_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = plugin_test(Settings(home=tmp_path, models_dir=models_dir), Wish(target, json=True))
    (analyzer,) = json.loads(capsys.readouterr().out)["analyzers"]
    assert (code, [one for one in analyzer["verdicts"] if one["state"] == "refused"]) == (0, [])


NEEDY = """
from gateway import Result, as_analyzer

@as_analyzer(needs=("motion", "faces"))
def needy(frame):
    area = frame.results["motion"].measures.get("area")
    person = [one for one in frame.results["faces"].detections if one.label == "person"]
    if frame.seq == 20 and frame.width == 640:
        raise ValueError(f"motion saw {area is not None}, faces saw {len(person)}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("needs", "saw"), [('("motion", "faces")', "motion saw False"), ('("motion",)', "motion saw True")]
)
def test_needs_are_run_where_all_of_them_can_and_drawn_where_not(
    needs: str, saw: str, tmp_path: Path, verdicts: Any
) -> None:
    file = tmp_path / "needy.py"
    text = NEEDY.replace('("motion", "faces")', needs)
    file.write_text(text if "faces" in needs else text.replace('frame.results["faces"].detections', "[]"))
    _, found = verdicts(file, "exceptions")
    assert saw in found["exceptions"]["reason"]


def test_a_plugin_that_does_not_load_is_refused_by_import_or_by_contract(tmp_path: Path, verdicts: Any) -> None:
    (tmp_path / "typo.py").write_text("import nothing_like_that\n")
    (tmp_path / "loud.py").write_text(
        "from gateway import as_analyzer\n@as_analyzer('LOUD')\ndef loud(frame):\n    pass\n"
    )
    code, found = verdicts(tmp_path / "typo.py")
    assert (code, found["import"]["reason"]) == (1, "ModuleNotFoundError: No module named 'nothing_like_that'")
    code, found = verdicts(tmp_path / "loud.py")
    assert code == 1
    assert "must be lower-case" in found["contract"]["reason"]


@pytest.mark.parametrize(
    ("target", "rules", "line"),
    [
        ("motoin", (), "there is no file, plugin, distribution or analyzer motoin; did you mean motion?"),
        ("nowhere.py", (), "there is no file nowhere.py"),
        ("motion", ("speed",), "there is no rule speed; there are import, contract"),
        ("objects", (), "analyzer objects cannot run here: no detection model"),
    ],
)
def test_what_cannot_be_tested_is_one_line_and_exit_2(
    target: str, rules: tuple[str, ...], line: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plugin_test(settings, Wish(target, rules=rules)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"plugin test: {line}")
    assert printed.err.count("\n") == 1


def test_the_table_says_how_to_mend_it() -> None:
    command = [sys.executable, "-m", "gateway", "plugin", "test", str(BAD / "contract.py"), "--rule", "contract"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    *lines, last = done.stdout.splitlines()
    assert last.startswith("plugin contract ran as in a worker; ")
    assert lines == [
        "bad 1",
        "RULE      STATE    WHAT WAS SEEN",
        "contract  refused  reports the label dog, which is not among its labels cat",
        "",
        f"contract: {BY_ID['contract'].asks}",
        "  reports the label dog, which is not among its labels cat",
        f"  -> {BY_ID['contract'].mend}",
        "",
        "refused: contract; 0 of 1 rules hold",
    ]
