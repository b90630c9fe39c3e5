"""Quarantine: the frames that killed a worker are kept once for the author, and nothing of that can fail the engine."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from gateway.engine import quarantine
from gateway.engine.clips import Clips
from gateway.engine.dispatcher import Casualty
from gateway.engine.plugins import Manifest
from gateway.engine.quarantine import Quarantine
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.session import Session
from gateway.engine.slot import Slot, Stage
from gateway.engine.terms import Terms
from gateway.frame import Frame
from gateway.results import Result
from gateway.settings import Analysis
from tests.doubles import FakePainter, jpeg, settings


def runner(name: str = "objects", version: str = "1.2") -> Runner:
    return Runner(Manifest(name, "plugin", "framegate", version), Analysis())


def casualty(who: Runner | None = None, *seqs: int, options: dict[str, object] | None = None) -> Casualty:
    who = who or runner()
    session = Session(
        "b7e1",
        SessionRequest(name="hunter2"),
        settings(),
        painter=FakePainter(),
        clips=Clips(settings()),
        clock=lambda: 1000.0,
    )
    slot = Slot(session, [Stage(who, Terms(options=options or {}))])
    items = [
        (slot, Frame(seq=seq, received_at=1000.0, width=32, height=24, jpeg=jpeg(), results={"motion": Result()}))
        for seq in seqs or (7,)
    ]
    return Casualty(who, tuple(items), "the worker has gone")


def kept(folder: Path, of: Casualty, reason: str) -> Path | None:
    return asyncio.run(Quarantine(folder).keep(of, reason))


def test_the_frames_and_what_was_asked_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    place = kept(tmp_path / "q", casualty(None, 7, 7, options={"min_score": 0.4}), "killed by SIGSEGV")
    assert place == tmp_path / "q" / "objects-1.2"
    about = json.loads((place / "job.json").read_text())
    assert about.pop("at").endswith("Z")
    frame = about["frames"].pop(0)
    assert about == {
        "analyzer": "objects",
        "version": "1.2",
        "plugin": "plugin",
        "distribution": "framegate",
        "reason": "killed by SIGSEGV",
        "frames": [{**frame, "file": "frame-7-1.jpg"}],
    }
    assert (frame["file"], frame["seq"], frame["options"]) == ("frame-7.jpg", 7, {"min_score": 0.4})
    assert list(frame["results"]) == ["motion"]
    assert (place / "frame-7.jpg").read_bytes() == jpeg()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, *place.iterdir())}
    files = {"frame-7.jpg": 0o600, "frame-7-1.jpg": 0o600, "job.json": 0o600}
    assert modes == {"q": 0o700, "objects-1.2": 0o700, **files}


def test_only_the_first_set_of_an_analyzer_and_version_is_kept(tmp_path: Path) -> None:
    places = [kept(tmp_path, casualty(runner(version=v), seq), "died") for v, seq in (("1", 1), ("1", 2), ("2", 3))]
    assert places == [tmp_path / "objects-1", tmp_path / "objects-1", tmp_path / "objects-2"]
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["frame-1.jpg", "frame-3.jpg"]


@pytest.mark.parametrize(
    ("name", "version", "folder"),
    [
        ("../../etc/cron.d/x", "1", "_.._etc_cron.d_x-1"),
        ("..", "..", "_-_"),
        ("a\0b", "1/../../2", "a_b-1_.._.._2"),
        ("/abs", "~", "_abs-_"),
        ("n" * 500, "1", "n" * 64 + "-1"),
        ("späh\udce9r", "1", "sp_h_r-1"),
    ],
    ids=["path", "dots", "nul and slash", "absolute", "long", "surrogate"],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str, version: str, folder: str) -> None:
    place = kept(tmp_path / "q", casualty(runner(name, version)), "died")
    assert place == tmp_path / "q" / folder
    assert [path.name for path in tmp_path.iterdir()] == ["q"]
    assert [path.name for path in (tmp_path / "q").iterdir()] == [folder]


def test_nothing_that_may_be_secret_is_written(tmp_path: Path) -> None:
    options: dict[str, object] = {
        "api_key": "hunter2",
        "inner": {"Password": "hunter2", "fine": 1},
        "url": "rtsp://admin:hunter2@10.0.0.1/1",
    }
    place = kept(tmp_path, casualty(options=options), "died")
    assert place
    text = (place / "job.json").read_text()
    assert ("hunter2" in text, "b7e1" in text) == (False, False)
    assert json.loads(text)["frames"][0]["options"] == {
        "api_key": "...",
        "inner": {"Password": "...", "fine": 1},
        "url": "rtsp://...@10.0.0.1/1",
    }


def test_a_disk_that_takes_nothing_costs_the_set_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert kept(tmp_path / "file", casualty(), "died") is None
    assert "its frames are not kept" in caplog.text


def test_a_set_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_TEXT", 10)
    assert kept(tmp_path, casualty(), "died") is None
    assert list(tmp_path.iterdir()) == []


def test_results_of_others_go_where_the_text_would_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kept(tmp_path / "whole", casualty(), "died")
    assert whole
    monkeypatch.setattr(quarantine, "MAX_TEXT", os.path.getsize(whole / "job.json") - 1)
    less = kept(tmp_path / "less", casualty(), "died")
    assert less
    assert json.loads((less / "job.json").read_text())["frames"][0]["results"] is None


def test_the_folder_does_not_grow_without_end(tmp_path: Path) -> None:
    places = [
        kept(tmp_path, casualty(runner(version=str(number))), "died") for number in range(quarantine.MAX_SETS + 2)
    ]
    assert [place is None for place in places] == [False] * quarantine.MAX_SETS + [True] * 2
    assert len(list(tmp_path.iterdir())) == quarantine.MAX_SETS


def test_pictures_that_are_too_large_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_BYTES", len(jpeg()))
    assert kept(tmp_path, casualty(runner(version="2"), 1, 2), "died") is None
    assert kept(tmp_path, casualty(runner(version="1"), 1), "died") == tmp_path / "objects-1"


def test_a_link_that_was_laid_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "objects-1.2").symlink_to(tmp_path / "elsewhere")
    kept(tmp_path / "q", casualty(), "died")
    assert not (tmp_path / "elsewhere").exists()
