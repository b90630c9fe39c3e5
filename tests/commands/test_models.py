"""`framegate models`: what is printed and what exit code it makes."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands import models
from gateway.commands.models import list_models, pull_models, verify_models
from gateway.settings import Settings
from gateway.weights import Weights
from tests.commands.file_server import Served, serving

BODY = os.urandom(5000)
ONE = Weights(
    "one",
    "one.onnx",
    "objects",
    "MIT",
    "of the test",
    len(BODY),
    hashlib.sha256(BODY).hexdigest(),
    "https://no.invalid/one.onnx",
)
OWN = Weights("own", "own.onnx", "smoking", "yours", "of the test", how="train it")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(models, "read_manifest", lambda: {"one": ONE, "own": OWN})
    (tmp_path / "given").mkdir()
    return Settings(home=tmp_path / "home", models_dir=str(tmp_path / "given"))


def pull(settings: Settings, *names: str, url: str | None = None, offline: bool = False) -> int:
    return pull_models(settings, list(names), url=url, offline=offline)


def test_pull_shows_licence_and_size_and_prints_plain_lines(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Served(BODY)) as served:
        assert pull(settings, "one", url=served.url) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "one: one.onnx, 4.9 KiB, licence MIT"
    assert "\x1b" not in out
    assert "\r" not in out
    assert (settings.home / "models" / "one.onnx").read_bytes() == BODY


def test_pull_leaves_alone_what_is_there_and_right(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    there = Path(settings.models_dir) / "one.onnx"
    there.write_bytes(BODY)
    assert pull(settings, "one.onnx") == 0
    assert capsys.readouterr().out == f"one: already at {there}\n"


def test_pull_fetches_again_what_is_wrong(settings: Settings) -> None:
    (Path(settings.models_dir) / "one.onnx").write_bytes(b"wrong")
    with serving(Served(BODY)) as served:
        assert pull(settings, "one", url=served.url) == 0
    assert (settings.home / "models" / "one.onnx").read_bytes() == BODY


def test_offline_never_asks_the_network(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Served(BODY)) as served:
        assert pull(settings, "one", url=served.url, offline=True) == 1
    assert served.asked == []
    assert "put one.onnx into" in capsys.readouterr().err


def test_weights_without_a_source_say_how_to_come_by_them(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(settings, "own") == 1
    assert "own has no public source: train it" in capsys.readouterr().err


def test_a_mirror_that_lies_is_exit_1(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Served(BODY[::-1])) as served:
        assert pull(settings, "one", url=served.url) == 1
    assert "SHA-256" in capsys.readouterr().err


def test_one_mirror_address_is_for_one_file(settings: Settings) -> None:
    with pytest.raises(SystemExit, match="name one"):
        pull(settings, "one", "own", url="http://x/")


def test_list_says_where_a_file_was_found(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    there = Path(settings.models_dir) / "own.onnx"
    there.write_bytes(b"x")
    list_models(settings, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["one", "objects", "4.9", "KiB", "no"]
    assert str(there) in lines[2]


def test_list_is_json_for_machines(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    list_models(settings, json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [(item["name"], item["found"]) for item in listed["models"]] == [("one", []), ("own", [])]


def test_verify_tells_right_from_wrong_from_unknown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    given, home = Path(settings.models_dir), settings.home / "models"
    home.mkdir(parents=True)
    (given / "one.onnx").write_bytes(BODY)
    (given / "own.onnx").write_bytes(b"x")
    assert verify_models(settings, json=True) == 0
    (home / "one.onnx").write_bytes(b"broken")
    capsys.readouterr()
    assert verify_models(settings, json=True) == 1
    found = json.loads(capsys.readouterr().out)["files"]
    assert [(item["name"], item["state"]) for item in found] == [
        ("one", "right"),
        ("one", "wrong"),
        ("own", "no reference"),
    ]


def test_the_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    code = (
        "import sys; from gateway.commands.models import _progress; from gateway.weights import Weights\n"
        "with _progress(Weights('one', 'f', 'a', 'l', 'w', bytes=100)) as tell: tell(50); tell(100)"
    )
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", code], stdout=theirs, timeout=30, check=True, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    drawn = os.read(ours, 65536)
    os.close(ours)
    assert b"\x1b[" in drawn
    assert b"one" in drawn
