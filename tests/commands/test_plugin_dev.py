"""`framegate plugin dev` as an author runs it: a process, a real gateway, a file that is saved while it runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import psutil
import pytest

from gateway.commands.dev_screen import DevScreen
from gateway.commands.plugin_dev import leave_out
from gateway.commands.saved import SavedFile
from tests.pictures import picture
from tests.server import eventually, running

pytestmark = pytest.mark.slow

CODE = """
import os, sys
from gateway import Analyzer, Result, hookimpl

class Word(Analyzer):
    name = "word"

    def __init__(self, options):
        super().__init__(options)
        sys.made = getattr(sys, "made", 0) + 1  # outlives the module, not the process
        self.size = 1

    def analyze(self, frame, memory):
        memory["n"] = memory.get("n", 0) + 1
        about = {"word": "one", "made": sys.made, "pid": os.getpid(), "n": memory["n"], "size": self.size}
        return Result(measures={"width": frame.width}, data=about)

@hookimpl
def register_analyzers():
    return [Word]
"""


class Author:
    """The one who runs the command, reads what it prints and saves the file."""

    def __init__(self, file: Path, process: subprocess.Popen[str]) -> None:
        self.file, self.process = file, process
        self.seen: list[dict[str, Any]] = []

    def wait(self, kind: str, fits: Callable[[dict[str, Any]], object] = lambda line: True) -> dict[str, Any]:
        """The next line of this kind that fits; whatever comes before it is passed over."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line: dict[str, Any] = json.loads(text)
            self.seen.append(line)
            if line["kind"] == kind and fits(line):
                return line
        raise AssertionError(f"no {kind}: {self.seen[-5:]}")

    def wait_data(self, **expected: Any) -> dict[str, Any]:
        line = self.wait("call", lambda line: expected.items() <= line["result"].get("data", {}).items())
        data: dict[str, Any] = line["result"]["data"]
        return data

    def save(self, text: str) -> None:
        """As editors do: another file, put in the place of the old."""
        beside = self.file.with_suffix(".tmp")
        beside.write_text(text)
        beside.replace(self.file)


@contextmanager
def author(folder: Path, code: str, *arguments: str) -> Iterator[Author]:
    file = folder / "word.py"
    file.write_text(code)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gateway", "plugin", "dev", str(file), "--json", "--trace", "--port", str(port)]
    environment = {**os.environ, "FRAMEGATE_HOME": str(folder / "home")}
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Author(file, process)
            process.send_signal(signal.SIGINT)
            process.stdout.read()  # type: ignore[union-attr]
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.e2e
def test_a_save_reaches_the_next_frames_and_the_model_stays(tmp_path: Path) -> None:
    with author(tmp_path, CODE) as dev:
        gateway = dev.wait("gateway")["pid"]
        page = dev.wait("stream")["viewer"]
        assert httpx2.get(page).status_code == 200
        before = dev.wait_data(word="one", made=1)

        dev.save(CODE.replace('"one"', '"two"'))
        assert dev.wait("reloaded")["model"] == "kept"
        after = dev.wait_data(word="two")
        assert (after["made"], after["pid"]) == (1, before["pid"])
        assert after["n"] > before["n"], "the memory went on"

        dev.save(CODE.replace('"one"', "("))
        reason = dev.wait("refused")["reason"]
        assert reason.startswith(f"{dev.file}:15: SyntaxError: ")
        assert dev.wait_data(word="two")["n"] > after["n"], "the code before runs on"

        dev.save(CODE.replace('"one"', '"three"').replace("self.size = 1", "self.size = 2"))
        assert dev.wait("reloaded")["model"] == "loaded"
        anew = dev.wait_data(word="three")
        assert (anew["made"], anew["pid"], anew["size"]) == (2, before["pid"], 2)
    assert not psutil.pid_exists(gateway)


@pytest.mark.slow
@pytest.mark.e2e
def test_an_error_in_a_module_and_other_analyzers_survive_too(tmp_path: Path) -> None:
    with author(tmp_path, "import no_such_library\n") as dev:
        assert "ModuleNotFoundError" in dev.wait("broken")["text"]
        dev.save(CODE)
        assert dev.wait("stream")["analyzers"] == ["word"]
        dev.wait_data(word="one")
        dev.save("import no_such_library\n" + CODE)
        assert dev.wait("refused")["reason"].startswith(f"{dev.file}:1: ModuleNotFoundError: ")
        dev.wait_data(word="one")
        dev.save(CODE.replace('name = "word"', 'name = "words"'))
        assert dev.wait("stream")["analyzers"] == ["words"]
        dev.wait_data(word="one")


@pytest.mark.slow
@pytest.mark.e2e
def test_its_pictures_may_be_files_or_a_stream_of_a_running_gateway(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((40, 56, 3), 90, np.uint8))
    with author(tmp_path, CODE, "--source", str(tmp_path / "a.jpg"), "--fps", "20") as dev:
        assert dev.wait("call", lambda line: "measures" in line["result"])["result"]["measures"] == {"width": 56}
    with running(tmp_path / "other") as server:
        stream_id = server.open()
        seen = server.push(stream_id, picture("green"))
        with author(tmp_path, CODE, "--source", f"{server.url}/stream/{stream_id}") as dev:
            dev.wait("stream")
            eventually(lambda: server.push(stream_id, picture("green")))
            line = dev.wait("call", lambda line: "measures" in line["result"])
            assert line["result"]["measures"] == {"width": seen.get("width", 64)}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--source", "/no/such/clip"], "plugin dev: /no/such/clip: no such file, device or folder"),
        (["--source", "http://127.0.0.1:9/"], "plugin dev: http://127.0.0.1:9/ names no stream"),
        (["--option", "nothing"], "plugin dev: --option expects KEY=VALUE, got 'nothing'"),
        (["--option", "level=1"], "plugin dev: POST /stream/request: 422: analyzer word has no option level"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    (tmp_path / "word.py").write_text(CODE)
    command = [sys.executable, "-m", "gateway", "plugin", "dev", str(tmp_path / "word.py"), *arguments]
    environment = {**os.environ, "FRAMEGATE_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(line)


def started(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    (folder / "word.py").write_text(code)
    command = [sys.executable, "-m", "gateway", "plugin", "dev", str(folder / "word.py"), "--trace", *arguments]
    environment = {**os.environ, "FRAMEGATE_HOME": str(folder / "home")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.mark.e2e
def test_a_gateway_that_goes_is_one_line(tmp_path: Path) -> None:
    with started(tmp_path, CODE, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        gateway = json.loads(process.stdout.readline())["pid"]
        next(line for line in process.stdout if '"call"' in line)
        psutil.Process(gateway).kill()
        said = process.stderr.read()
    assert (process.returncode, said.count("\n")) == (1, 1)
    assert said.startswith("plugin dev: the gateway has gone (")
    assert said.endswith(f"its log: {tmp_path / 'home' / 'dev' / 'word.log'}\n")


@pytest.mark.e2e
def test_a_reader_that_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    with started(tmp_path, CODE, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        gateway = json.loads(process.stdout.readline())["pid"]
        process.stdout.close()
        assert process.stderr.read() == ""
    eventually(lambda: not psutil.pid_exists(gateway))


@pytest.mark.e2e
def test_what_a_worker_may_not_do_is_told_with_the_line_that_grants_it(tmp_path: Path) -> None:
    with author(
        tmp_path, CODE.replace("    def __init__", '    permissions = ("network",)\n\n    def __init__')
    ) as dev:
        said = dev.wait("trouble")
    assert (said["analyzer"], said["state"]) == ("word", "failed")
    assert '[plugin_permissions]: "word" = ["network"]' in said["text"]


@pytest.mark.parametrize(
    ("module", "file", "off"),
    [
        ("framegate_word", "framegate_word.py", True),
        ("word", "word/__init__.py", True),
        ("word.looking", "word/looking.py", True),
        ("words", "word.py", False),
        ("word.looking", "looking.py", False),
    ],
)
def test_the_same_plugin_as_it_is_installed_is_left_out(
    module: str, file: str, off: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEGATE_PLUGINS_OFF", '["other"]')
    about = tmp_path / "word-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: word\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[framegate.plugins]\nword = {module}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    leave_out(tmp_path / file)
    assert json.loads(os.environ["FRAMEGATE_PLUGINS_OFF"]) == ["other", *(["word"] if off else [])]


# --- what an editor does to a file -----------------------------------------------------------------------------------


def test_a_save_counts_when_two_looks_find_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    saved = SavedFile(file)
    assert saved.look() is None
    file.write_text("tw")  # half of it
    assert saved.look() is None
    file.write_text("two and a half")
    assert (saved.look(), saved.look(), saved.look()) == (None, b"two and a half", None)


def test_a_rename_counts_and_a_moment_without_a_file_does_not(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    saved = SavedFile(file)
    file.unlink()
    assert (saved.look(), saved.look()) == (None, None)
    (tmp_path / "b").write_text("two")
    (tmp_path / "b").rename(file)
    assert (saved.look(), saved.look()) == (None, b"two")


def test_the_same_text_saved_again_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("one")
    saved = SavedFile(file)
    os.utime(file, ns=(1, 1))
    assert (saved.look(), saved.look(), saved.look()) == (None, None, None)


# --- what is printed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trace", "lines"), [(False, 2), (True, 3)])
def test_a_result_is_printed_when_it_shows_something_else_or_each_with_trace(
    trace: bool, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = DevScreen(trace=trace, json=False)
    for label in ("cat", "cat", "dog"):
        detections = [{"label": label}]
        result = {"state": "ready", "latency_ms": 2.0, "age_ms": 3.0, "detections": detections, "measures": {"a": 0.5}}
        screen.tell({"type": "result", "seq": 7, "analyzers": {"pets": result}})
    printed = [line[10:] for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == lines
    assert (printed[0], printed[-1]) == (
        "frame 7  pets 1 cat  2.0 ms  a 0.5",
        "frame 7  pets 1 dog  2.0 ms  a 0.5",
    )


def test_an_exception_is_printed_once_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    screen = DevScreen(trace=False, json=False)
    about = {"name": "pets", "state": "ready", "reason": "ValueError: no", "traceback": "Traceback\n  here\n"}
    for _ in range(2):
        screen.analyzer(about)
    screen.analyzer({**about, "reason": None, "traceback": None})
    assert capsys.readouterr().out[10:] == "pets is ready: ValueError: no\nTraceback\n  here\n"
