"""New code under a running worker: what keeps the model and the memories, what costs them, what changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.engine.host import AnalyzerHost, Report
from gateway.engine.plugins import PluginSpec
from gateway.engine.refresh import reload
from tests.doubles import jpeg

CODE = '''
"""A plugin whose model counts how often it was made."""
import os
from dataclasses import dataclass
from gateway import Analyzer, Result, hookimpl

FACTOR = 2
SIZE = 3

@dataclass
class Seen:
    frames: int = 0

    def add(self):
        self.frames += 1

@dataclass(frozen=True)
class Options:
    step: int = 1

def weights():
    return [0.0] * SIZE

class Model(Analyzer):
    name = "model"
    labels = ("a",)
    Options = Options

    def __init__(self, options):
        super().__init__(options)
        self.weights = self.load()
        with open(os.environ["MADE"], "a") as log:
            log.write("made\\n")

    def load(self):
        return weights()

    def open(self, session):
        return Seen()

    def scale(self):
        return FACTOR

    def analyze(self, frame, memory):
        assert isinstance(memory, Seen)
        memory.add()
        return Result(measures={"seen": memory.frames, "value": self.scale() * 1, "size": len(self.weights)})

    def close(self):
        with open(os.environ["MADE"], "a") as log:
            log.write("closed\\n")

@hookimpl
def register_analyzers():
    return [Model]
'''


class Bench:
    """One plugin's file in a host, as a worker holds it."""

    def __init__(self, folder: Path, code: str, name: str = "model") -> None:
        self.file, self.log, self.name = folder / "plugin.py", folder / "made", name
        self.code = code
        self.file.write_text(code)
        self.host = AnalyzerHost([PluginSpec("plugin", path=str(self.file))], {})
        assert self.host.loaded.failed == {}
        assert self.host.prepare(name)["state"] == "ready"

    def save(self, *changes: tuple[str, str]) -> Report:
        for old, new in changes:
            assert old in self.code
            self.code = self.code.replace(old, new)
        self.file.write_text(self.code)
        report = reload(self.host, self.name)
        if report["state"] == "idle":
            assert self.host.prepare(self.name)["state"] == "ready"
        return report

    def see(self) -> dict[str, Any]:
        """The measures of the stream's next frame."""
        picture = jpeg()
        frame = {"seq": 1, "received_at": 1.0, "width": 32, "height": 24, "captured_at": None, "at": 0.0}
        session = {"stream_id": "s", "camera_id": None, "name": ""}
        item = {"session": session, "frame": frame, "results": {}, "length": len(picture)}
        call = {"analyzer": self.name, "items": [{"item": 0, "options": {}}]}
        work = self.host.begin({"id": 1, "items": [item], "calls": [call]}, [picture])
        (report,) = self.host.run(work)
        (outcome,) = report["outcomes"]
        assert "result" in outcome, outcome
        measures: dict[str, Any] = outcome["result"]["measures"]
        return measures

    @property
    def made(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("MADE", str(tmp_path / "made"))
    return Bench(tmp_path, CODE)


def how(report: Report) -> tuple[str, str, str]:
    return report["state"], report["model"], report["memories"]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (("self.scale() * 1", "self.scale() * 5"), 10),
        (("return FACTOR", "return FACTOR + 1"), 3),
        (("FACTOR = 2", "FACTOR = 7"), 7),
        (("def scale(self):\n        return FACTOR", "def scale(self):\n        # why not\n        return FACTOR"), 2),
        (('labels = ("a",)', 'labels = ("a", "b")'), 2),
    ],
)
def test_the_model_and_the_memory_stay_when_only_what_looks_at_frames_changed(
    bench: Bench, change: tuple[str, str], value: int
) -> None:
    assert bench.see() == {"seen": 1, "value": 2, "size": 3}
    assert how(bench.save(change)) == ("ready", "kept", "kept")
    assert bench.see() == {"seen": 2, "value": value, "size": 3}
    assert bench.made == ["made"]


@pytest.mark.parametrize(
    ("change", "size"),
    [
        (("self.weights = self.load()", "self.weights = [1.0]"), 1),
        (("return weights()", "return weights()[1:]"), 2),  # a method that __init__ calls
        (("return [0.0] * SIZE", "return [0.0] * SIZE * 2"), 6),  # a function that this one calls
        (("SIZE = 3", "SIZE = 4"), 4),  # a number that this one reads
        (("step: int = 1", "step: int = 2"), 3),
        (("    Options = Options", "    Options = Options\n    net = dict()"), 3),
        (("FACTOR = 2", "FACTOR = 2\nos.environ.get('X')"), 3),  # a statement that may set something up
        (("class Model(Analyzer):", "class Base(Analyzer):\n    pass\n\nclass Model(Base):"), 3),
    ],
)
def test_the_model_is_loaded_anew_when_something_with_a_part_in_it_changed(
    bench: Bench, change: tuple[str, str], size: int
) -> None:
    bench.see()
    assert how(bench.save(change)) == ("idle", "closed", "dropped")
    assert bench.see() == {"seen": 1, "value": 2, "size": size}
    assert bench.made == ["made", "closed", "made"]


def test_memories_begin_anew_when_what_makes_them_changed(bench: Bench) -> None:
    bench.see()
    assert how(bench.save(("frames: int = 0", "frames: int = 100"))) == ("ready", "kept", "dropped")
    assert bench.see() == {"seen": 101, "value": 2, "size": 3}
    assert bench.made == ["made"]


def test_the_same_text_again_means_a_new_model(bench: Bench) -> None:
    assert how(bench.save()) == ("idle", "closed", "dropped")
    assert bench.made == ["made", "closed", "made"]


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (("return FACTOR", "return ("), 42, "SyntaxError: '(' was never closed"),
        (("SIZE = 3", "SIZE = 3 / 0"), 8, "ZeroDivisionError: division by zero"),
        (("import os\n", "import os\nimport no_such_library\n"), 4, "ModuleNotFoundError: No module named"),
    ],
)
def test_broken_code_changes_nothing_and_is_told_with_its_line(
    bench: Bench, change: tuple[str, str], line: int, reason: str
) -> None:
    bench.see()
    report = bench.save(change)
    assert how(report) == ("refused", "kept", "kept")
    assert report["reason"].startswith(f"{bench.file}:{line}: {reason}")
    assert reason.partition(":")[0] in report["traceback"]
    assert bench.see() == {"seen": 2, "value": 2, "size": 3}
    assert how(bench.save(tuple(reversed(change)), ("FACTOR = 2", "FACTOR = 4"))) == ("ready", "kept", "kept")  # type: ignore[arg-type]
    assert bench.see() == {"seen": 3, "value": 4, "size": 3}
    assert bench.made == ["made"]


def test_code_that_breaks_the_contract_is_refused(bench: Bench) -> None:
    report = bench.save(("    def analyze(self", "    def analyse(self"))
    assert report["state"] == "refused"
    assert report["reason"].endswith("TypeError: analyzer model: Model does not define analyze(frame, memory)")
    assert bench.see()["seen"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('name = "model"', 'name = "modern"'), "modern is new"),
        (("return [Model]", "return []"), "model is gone"),
        (('labels = ("a",)', 'needs = ("motion",)'), "needs of model changed"),
        (('labels = ("a",)', 'permissions = ("network",)'), "permissions of model changed"),
    ],
)
def test_what_streams_and_workers_are_arranged_by_needs_a_new_worker(
    bench: Bench, change: tuple[str, str], reason: str
) -> None:
    report = bench.save(change)
    assert (report["state"], report["reason"]) == ("restart", reason)
    assert bench.see() == {"seen": 1, "value": 2, "size": 3}


def test_the_report_has_the_new_manifest(bench: Bench) -> None:
    report = bench.save(('labels = ("a",)', 'labels = ("b",)'))
    assert report["manifest"] == bench.host.introduce("model")
    assert report["manifest"]["labels"] == ("b",)


def test_all_analyzers_of_a_file_go_on_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MADE", str(tmp_path / "made"))
    second = CODE.replace("@hookimpl", 'class Second(Model):\n    name = "second"\n\n@hookimpl').replace(
        "[Model]", "[Model, Second]"
    )
    bench = Bench(tmp_path, second)
    report = bench.save(("self.scale() * 1", "self.scale() * 3"))
    assert how(report) == ("ready", "kept", "kept")
    assert [(item["analyzer"], item["state"], item["model"]) for item in report["also"]] == [("second", "idle", "none")]
    bench.name = "second"
    assert bench.host.prepare("second")["state"] == "ready"
    assert bench.see()["value"] == 6


def test_a_function_is_taken_over_with_its_memory(tmp_path: Path) -> None:
    code = """
from gateway import Result, as_analyzer

@as_analyzer()
def count(frame, memory):
    memory["n"] = memory.get("n", 0) + 1
    return Result(measures={"n": memory["n"]})
"""
    bench = Bench(tmp_path, code, "count")
    assert bench.see() == {"n": 1}
    assert how(bench.save(('{"n": memory["n"]}', '{"n": memory["n"] * 10}'))) == ("ready", "kept", "kept")
    assert bench.see() == {"n": 20}


def test_two_saves_within_one_tick_of_the_clock_are_both_seen(bench: Bench) -> None:
    """Bytecode files are told apart by whole seconds and size: they would give the older text."""
    for factor in (3, 4, 5):
        assert how(bench.save((f"FACTOR = {factor - 1}", f"FACTOR = {factor}"))) == ("ready", "kept", "kept")
        assert bench.see()["value"] == factor


def test_a_file_that_is_gone_is_told(bench: Bench) -> None:
    bench.file.unlink()
    report = reload(bench.host, "model")
    assert (report["state"], report["reason"]) == ("refused", f"{bench.file}: No such file or directory")
    assert bench.see()["seen"] == 1
