"""docs/writing-an-analyzer.md, done as it says: a distribution of its own, pip install, start again, it runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.structure.fresh import Environment
from tests.structure.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

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


def test_a_file_is_a_plugin_too(fresh: Environment, written: Path, tmp_path: Path) -> None:
    file = str(written / "framegate_brightness.py")
    serve = (fresh.command("framegate"), "serve", "--port", "0", "--plugin", file)
    with running(tmp_path / "home", command=serve) as server:
        _sees_light(server)


def test_the_examples_own_tests_pass(fresh: Environment, written: Path) -> None:
    fresh.install(written)
    shutil.copytree(EXAMPLE / "tests", written / "tests")
    fresh.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=written)


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
