"""What `plugin test` and `plugin replay` run, they find and confine as a gateway would."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.plugin_replay import Wish as Replay
from gateway.commands.plugin_replay import plugin_replay
from gateway.commands.plugin_test import Wish, plugin_test
from gateway.commands.scene import Scene
from gateway.engine import landlock, seccomp
from gateway.settings import Settings
from gateway.testing.rules import BY_ID, DENIED
from gateway.testing.sandbox import told

pytestmark = pytest.mark.slow

enforced = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.ARCHITECTURES or landlock.abi() < 1,
    reason="this system confines no worker",
)

CALLING = """
import socket
from gateway import Analyzer, Result, hookimpl

class Calling(Analyzer):
    name = "calling"
    permissions = PERMISSIONS

    def analyze(self, frame, memory):
        socket.socket().close()
        open("SECRET").close()
        return Result()

@hookimpl
def register_analyzers():
    return [Calling]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "plugins").mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    return tmp_path / "home"


@pytest.fixture
def clip(tmp_path: Path) -> str:
    (tmp_path / "clip").mkdir()
    for number in range(3):
        (tmp_path / "clip" / f"{number}.jpg").write_bytes(Scene().jpeg(number / 5))
    return str(tmp_path / "clip")


def settings(home: Path, **more: Any) -> Settings:
    return Settings(home=home, models_dir="", yolo_model_path="", **more)


def calling(folder: Path, *permissions: str, secret: str = "/dev/null") -> Path:
    file = folder / "calling.py"
    file.write_text(CALLING.replace("PERMISSIONS", repr(permissions)).replace("SECRET", secret))
    return file


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@enforced
def test_a_call_that_no_worker_may_make_is_refused_here_already(
    home: Path, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(calling(home.parent))
    assert plugin_test(settings(home), Wish(file, rules=("exceptions",), json=True)) == 1
    found = document(capsys)
    (verdict,) = found["analyzers"][0]["verdicts"]
    assert verdict["reason"].startswith("raises PermissionError: [Errno 1] Operation not permitted on frame 0")
    assert verdict["mend"] == DENIED
    assert found["confined"]["calling"]["network"] == "seccomp"
    assert plugin_replay(settings(home), Replay(clip, file, json=True)) == 0
    assert document(capsys)["first_error"] == "calling: PermissionError: [Errno 1] Operation not permitted"


@enforced
def test_what_was_granted_may_be_used_and_nothing_else(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    granted = settings(home, plugin_permissions={"calling": ["network"]})
    wish = Wish(str(calling(home.parent, "network")), rules=("exceptions",), json=True)
    assert plugin_test(granted, wish) == 0
    assert document(capsys)["confined"]["calling"]["network"] == "granted"
    calling(home.parent, "network", secret=str(home.parent / "secret"))
    assert plugin_test(granted, wish) == 1
    (verdict,) = document(capsys)["analyzers"][0]["verdicts"]
    assert verdict["reason"].startswith("raises PermissionError: [Errno 13] Permission denied")


@pytest.mark.parametrize("command", ["test", "replay"])
def test_what_was_not_granted_is_denied_with_the_line_that_grants_it(
    command: str, home: Path, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(calling(home.parent, "network"))
    if command == "test":
        assert plugin_test(settings(home), Wish(file)) == 2
    else:
        assert plugin_replay(settings(home), Replay(clip, file)) == 2
    reason = "plugin_denied: it asks for network; framegate.toml, [plugin_permissions]:"
    said = f'plugin {command}: analyzer calling cannot run here: {reason} "calling" = ["network"]\n'
    assert capsys.readouterr().err == said


def test_where_nothing_is_taken_it_is_said(home: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_settings = settings(home, analysis={"confine": False})
    wish = Wish(str(calling(home.parent, "network")), rules=("import",))
    assert plugin_test(open_settings, wish) == 0
    line = "not taken: network, files, signals, memory (switched off)"
    assert capsys.readouterr().out.splitlines()[-1] == f"plugin calling ran as in a worker; {line}"
    assert plugin_replay(open_settings, Replay(clip, wish.target)) == 0
    assert capsys.readouterr().err == f"plugin replay: {line}\n"


def test_a_report_is_told_by_what_was_taken_granted_and_neither() -> None:
    confined = {
        "network": "granted",
        "files": "not enforced: no Landlock",
        "signals": "seccomp",
        "memory": "landlock 7",
    }
    text = "taken: signals (seccomp), memory (landlock 7); granted: network; not taken: files (no Landlock)"
    assert told(confined) == text


@pytest.mark.parametrize("where", ["plugins", "elsewhere"])
def test_the_plugins_folder_is_looked_at_too(
    where: str, home: Path, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / where
    folder.mkdir(exist_ok=True)
    calling(folder)
    chosen = settings(home, analysis={"confine": False}, **({"plugins_dir": folder} if where == "elsewhere" else {}))
    assert plugin_test(chosen, Wish("calling", rules=("import", "exceptions"), json=True)) == 0
    assert [one["name"] for one in document(capsys)["analyzers"]] == ["calling"]
    assert plugin_replay(chosen, Replay(clip, "calling", json=True)) == 0
    assert document(capsys)["errors"] == 0


def test_options_of_the_host_are_none_of_the_analyzers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = {"calling": {"fps": 5, "motion_gate": 3.0, "labels": ["person"]}}
    chosen = settings(home, analyzers=operator, analysis={"confine": False})
    rules = ("import", "options", "json")
    assert plugin_test(chosen, Wish(str(calling(home.parent)), rules=rules, json=True)) == 0
    states = {one["rule"]: one["state"] for one in document(capsys)["analyzers"][0]["verdicts"]}
    assert states == dict.fromkeys(rules, "holds")


@enforced
def test_what_it_did_at_import_is_the_reason_that_it_does_not_load(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = calling(home.parent)
    file.write_text("import socket\nsocket.create_connection(('127.0.0.1', 9))\n" + file.read_text())
    assert plugin_test(settings(home), Wish(str(file), json=True)) == 1
    (verdict,) = document(capsys)["analyzers"][0]["verdicts"]
    assert (verdict["rule"], verdict["mend"]) == ("import", BY_ID["import"].mend)
    assert verdict["reason"] == "at import: uses the network (socket.getaddrinfo)"
