"""docs/writing-an-analyzer.md, done as it says: a distribution of its own, pip install, start again, it runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import pytest

from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.structure.fresh import Environment, build_wheel
from tests.structure.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEPS = (
    *("framegate plugin new", "framegate plugin dev", "framegate plugin test", "pip install -e"),
    *("pytest", "framegate serve", "framegate plugins", "framegate push", "curl"),
)
EXAMPLE = ROOT / "examples" / "framegate-brightness"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The two files of the tutorial, alone in a folder."""
    folder = tmp_path / "framegate-brightness"
    folder.mkdir()
    for name in ("framegate_brightness.py", "pyproject.toml", "README.md"):
        shutil.copy(EXAMPLE / name, folder)
    return folder


def test_a_stranger_adds_an_analyzer(fresh: Environment, written: Path, tmp_path: Path) -> None:
    serve = (fresh.command("framegate"), "serve", "--port", "0")
    with running(tmp_path / "before", command=serve) as server:
        assert "brightness" not in _analyzers(server)
        fresh.install(written)
        assert "brightness" not in _analyzers(server), "plugins are found at the start only"
    assert "brightness" in fresh.run("framegate", "plugins")
    with running(tmp_path / "after", command=serve) as server:
        about = _analyzers(server)["brightness"]
        assert (about["distribution"], about["version"]) == ("framegate-brightness", "0.1.0")
        assert about["options"]["properties"]["dark"]["default"] == 0.15
        _sees_light(server)


def test_from_plugin_new_to_a_wheel_that_runs(fresh: Environment, tmp_path: Path) -> None:
    """Both wheels in a clean environment; of the plugin the author has written fewer than 40 lines."""
    fresh.run("framegate", "plugin", "new", "brightness", "--folder", str(tmp_path / "work"))
    project = tmp_path / "work" / "framegate-brightness"
    module = project / "framegate_brightness.py"
    given, text = set(module.read_text().splitlines()), (EXAMPLE / module.name).read_text()
    assert 0 < len([line for line in text.splitlines() if line not in given]) < 40
    module.write_text(text)
    wheel = build_wheel(project, tmp_path / "dist")
    with ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if ".dist-info/" not in name] == [module.name]
    fresh.install(wheel)
    shutil.rmtree(project)
    with running(tmp_path / "home", command=(fresh.command("framegate"), "serve", "--port", "0")) as server:
        about = _analyzers(server)["brightness"]
        assert (about["distribution"], about["version"]) == ("framegate-brightness", "0.1.0")
        _sees_light(server)


def test_a_file_is_a_plugin_too(fresh: Environment, written: Path, tmp_path: Path) -> None:
    file = str(written / "framegate_brightness.py")
    serve = (fresh.command("framegate"), "serve", "--port", "0", "--plugin", file)
    with running(tmp_path / "home", command=serve) as server:
        _sees_light(server)


def test_the_examples_own_tests_pass(fresh: Environment, written: Path) -> None:
    fresh.install(written)
    shutil.copytree(EXAMPLE / "tests", written / "tests")
    fresh.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=written)


def test_the_fixtures_of_the_tutorial_do_what_it_says(written: Path) -> None:
    shutil.copy(EXAMPLE / "conftest.py", written)
    (written / "tests").mkdir()
    page = (ROOT / "docs/writing-an-analyzer.md").read_text().partition("## Fixtures for pytest")[2]
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    (written / "tests" / "test_fixtures.py").write_text(code)
    clip = cv2.VideoWriter(str(written / "tests" / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    for level in range(30):
        clip.write(np.full((240, 320, 3), 80 + level, np.uint8))
    clip.release()
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    environment = {**os.environ, "PYTHONPATH": str(written)}
    for update, passed in ((["--update-golden"], "3 passed"), ([], "3 passed")):
        done = subprocess.run(
            [*run, *update], cwd=written, env=environment, capture_output=True, text=True, timeout=100
        )
        assert passed in done.stdout, done.stdout + done.stderr
    assert json.loads((written / "tests" / "golden" / "street.json").read_text())["detections"][0]["label"] == "light"


def test_the_tutorial_done_step_by_step(fresh: Environment, tmp_path: Path) -> None:
    """Its files are written and its commands run in their order, in a clean environment with the wheel of Framegate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    tutorial = (ROOT / "docs/writing-an-analyzer.md").read_text().partition("## In five lines")[0]
    script, mine = _script(tutorial.replace("localhost:8000", f"localhost:{port}"))
    assert mine <= 40, "lines of the author's in the analyzer"
    assert [command for command in STEPS if command not in script] == []
    changes = {
        "framegate push frames": f"framegate push frames --url http://localhost:{port}",
        "pip install -e": "pip install",  # the editable kind needs a library from the index
    }
    for old, new in changes.items():
        script = script.replace(old, new)
    said = _bash(script, fresh, tmp_path, port)
    assert "brightness on frames; look at it: http://" in said
    assert re.search(r"frame \d+  brightness 1 light", said), "plugin dev shows what it sees"
    assert "3 passed" in said
    assert "15 rules hold" in said
    assert re.search(r"^brightness +framegate-brightness +0\.1\.0 +brightness .*ready$", said, re.MULTILINE)
    seen = json.loads(said.strip().rpartition("\n")[2])["analyzers"]["brightness"]
    assert [detection["label"] for detection in seen["detections"]] == ["light"]
    assert 0.4 < seen["measures"]["level"] < 0.7


def _script(tutorial: str) -> tuple[str, int]:
    """Its commands, and its files as here-documents, in the order they stand there; and how long the analyzer is."""
    parts, files = [], iter(("framegate_brightness.py", "tests/test_brightness.py"))
    lines = []
    for kind, text in re.findall(r"^```(bash|python)\n(.*?)^```$", tutorial, re.MULTILINE | re.DOTALL):
        if kind == "bash":
            parts.append(text)
        else:
            parts.append(f"cat > {next(files)} <<'END_OF_FILE'\n{text}END_OF_FILE\n")
            lines.append(text.count("\n"))
    assert len(lines) == 2, "the analyzer and its tests"
    return "".join(parts), lines[0]


def _bash(script: str, fresh: Environment, folder: Path, port: str) -> str:
    foreign = ("FRAMEGATE_", "PYTHON", "VIRTUAL_ENV")
    ours = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    place = {
        "PATH": f"{fresh.folder / 'bin'}:{ours['PATH']}",
        "FRAMEGATE_HOME": str(folder / "home"),
        "FRAMEGATE_PORT": port,
    }
    work = folder / "work"
    work.mkdir()
    with (folder / "said").open("w") as said, (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=work,
            env={**ours, **offline, **place},
            stdout=said,
            stderr=log,
            process_group=0,
        )
        try:
            code = process.wait(250)
        finally:
            with suppress(ProcessLookupError):  # the gateway of the fifth step, if the script did not come to its end
                os.killpg(process.pid, signal.SIGKILL)
    text = (folder / "said").read_text()
    assert code == 0, text[-3000:] + (folder / "log").read_text()[-3000:]
    return text


def _analyzers(server: Server) -> dict[str, Any]:
    return {item["name"]: item for item in server.http.get("/api/analyzers").json()["items"]}


def _sees_light(server: Server) -> None:
    """A stream that asks for it gets its result, a stream's own option counts, an unknown one is refused."""
    stream_id = server.open(analyzers=["brightness"], options={"brightness": {"dark": 1.0}})
    eventually(lambda: _analyzers(server)["brightness"]["state"] == "ready")  # frames go by while it loads
    seen = server.push(stream_id, picture("green"), wait=1)["analyzers"]["brightness"]
    assert [detection["label"] for detection in seen["detections"]] == ["light"]
    assert 0 < seen["measures"]["level"] < 1
    events = server.show(stream_id)["events_open"]
    assert events == 1, "dark = 1.0 makes every picture dark"
    wish = {"analyzers": ["brightness"], "options": {"brightness": {"drak": 1}}}
    refused = server.http.post("/stream/request", json=wish)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_option")
