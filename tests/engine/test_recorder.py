"""The recorder: which pictures a session keeps, which events get a clip, and what a clip is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.clips import MIB, Clips, Job
from gateway.engine.recorder import MOST_EVENTS, Recorder
from gateway.engine.ring import Stamp
from gateway.events import Event, Phase
from gateway.frame import Frame
from gateway.results import Severity
from tests.doubles import settings
from tests.pictures import picture

JPEG = picture("red")


@dataclass
class Findings:
    """What a session does with events."""

    ready: list[str] = field(default_factory=list)
    open_events: list[Event] = field(default_factory=list)

    def clip_ready(self, event_ids: list[str]) -> None:
        self.ready += event_ids


@dataclass
class Stage:
    """A session with a camera of 20 fps, and with clips that nobody makes but the test."""

    folder: Path
    rules: dict[str, Any] = field(default_factory=dict)
    clips: Clips | None = None
    id: str = "stream"
    now: float = 1000.0
    seq: int = 0
    latest: Frame | None = None
    stages: list[str] = field(default_factory=lambda: ["any"])
    reason: str | None = None
    findings: Findings = field(default_factory=Findings)

    def __post_init__(self) -> None:
        chosen = self.settings = settings(home=self.folder, clips=self.rules)
        self.clips = self.clips or Clips(chosen, clock=lambda: self.now)
        self.recorder = Recorder(self, self.clips, lambda: self.now)  # type: ignore[arg-type]

    def frame(self, jpeg: bytes = JPEG) -> Frame:
        self.now += 0.05
        self.seq += 1
        frame = self.latest = Frame(self.seq, self.now, 160, 120, jpeg)
        self.recorder.picture(frame)
        return frame

    def play(self, seconds: float, jpeg: bytes = JPEG) -> None:
        for number in range(round(seconds * 20)):
            self.frame(jpeg)
            if number % 5 == 0:
                self.recorder.tick(self.now)

    def silence(self, seconds: float) -> None:
        """Nothing comes any more, and the session's clock goes on."""
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.recorder.tick(self.now)

    def lost(self, name: str) -> Event:
        """The gateway's own event, told with the last frame there was."""
        about: dict[str, Any] = {"stream_id": self.id, "severity": "critical", "started_at": datetime.now(UTC)}
        event = Event(name, "new", "camera_lost", analyzer="", version="", **about)
        return self.recorder.told(event, self.latest, {})

    def sight(self, name: str, phase: Phase = "new", *, severity: Severity = "info", score: float = 0.5) -> Event:
        frame = self.frame()
        about = {"stream_id": self.id, "severity": severity, "started_at": datetime.now(UTC), "score": score}
        event = Event(name, phase, "fall", analyzer="any", version="1", seq=frame.seq, **about)  # type: ignore[arg-type]
        return self.recorder.told(event, None if phase == "end" else frame, {})

    def jobs(self) -> list[Job]:
        assert self.clips is not None
        found = []
        while (job := self.clips._jobs.take()) is not None:
            found.append(job)
        return found


def length(job: Job) -> float:
    return round(job.pieces[-1].at - job.pieces[0].at, 2)


def test_pictures_are_kept_at_their_own_pace_and_for_the_time_before_an_event(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 5, "fps": 5})
    stage.play(60)
    kept = stage.recorder.ring.since(0)
    steps = {round(after.at - before.at, 2) for before, after in pairwise(kept)}
    assert steps == {0.2}
    assert 10.0 <= kept[-1].at - kept[0].at <= 10.4  # results come up to 5 s late


def test_a_stream_without_analyzers_keeps_nothing_nor_does_one_that_is_to_have_none(tmp_path: Path) -> None:
    bare, off = Stage(tmp_path, stages=[]), Stage(tmp_path, {"on": False})
    for stage in (bare, off):
        stage.play(3)
        assert stage.recorder.ring.bytes == 0
    assert off.sight("a").snapshot_url is None


def test_when_the_last_analyzer_leaves_what_was_kept_goes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.play(3)
    stage.stages.clear()
    stage.play(0.1)
    assert stage.recorder.ring.bytes == 0


def test_a_clip_begins_before_its_event_and_ends_after_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 3, "post_s": 2})
    stage.play(20)
    event = stage.sight("a")
    began = stage.now
    assert (event.snapshot_url, event.clip_url) == ("/api/events/a/snapshot.jpg", None)
    stage.play(4)
    stage.sight("a", "end")
    ended = stage.now
    stage.play(1.8)
    assert stage.jobs() == []
    stage.play(0.6)
    (job,) = stage.jobs()
    assert began - 3.2 <= job.pieces[0].at <= began - 3
    assert ended + 1.8 <= job.pieces[-1].at <= ended + 2.3


def test_an_event_that_lasts_gets_its_beginning(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 3, "most_s": 10})
    stage.play(20)
    stage.sight("a")
    stage.play(60)
    (job,) = stage.jobs()
    assert 10 <= length(job) <= 10.5


def test_a_storm_of_events_makes_one_clip_for_each_stretch_of_time(tmp_path: Path) -> None:
    """A thousand events in 50 s; what one clip cannot name is counted."""
    stage = Stage(tmp_path, {"pre_s": 3, "post_s": 1, "most_s": 10})
    stage.play(20)
    for number in range(1000):
        stage.sight(str(number))
        stage.recorder.tick(stage.now)
    stage.play(12)
    jobs = stage.jobs()
    assert stage.clips is not None
    assert 5 <= len(jobs) <= 8
    assert max(length(job) for job in jobs) <= 10.5
    assert {len(job.reel.events) for job in jobs[:-1]} == {MOST_EVENTS}
    assert sum(len(job.reel.events) for job in jobs) + stage.clips.lost["events"] == 1000


def test_events_below_the_severity_get_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"severity": "warning"})
    stage.play(1)
    assert stage.sight("a").snapshot_url is None
    assert stage.sight("b", severity="warning").snapshot_url == "/api/events/b/snapshot.jpg"
    assert stage.sight("c", severity="critical").snapshot_url == "/api/events/c/snapshot.jpg"


def test_when_the_clip_is_made_its_events_are_told_and_have_its_address_from_then_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"post_s": 1})
    lasting, over = stage.sight("a"), stage.sight("b")
    stage.findings.open_events = [lasting]
    stage.sight("b", "end")
    stage.play(40)
    (job,) = stage.jobs()
    job.reel.clip = "ready"
    job.done(job.reel)
    assert stage.findings.ready == ["a", "b"]
    assert stage.sight("a", "update").clip_url == "/api/events/a/clip.mp4"
    assert stage.recorder.dressed(over) == over  # nothing is remembered of what is over
    assert stage.sight("a", "end").clip_url == "/api/events/a/clip.mp4"
    assert stage.recorder._reels == {}


def test_a_stream_that_holds_its_most_ends_its_clip_early(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"session_mb": 1, "post_s": 20})
    large = JPEG + bytes(100_000)
    stage.play(5, large)
    assert 900_000 < stage.recorder.ring.bytes <= MIB
    stage.sight("a")
    stage.play(10, large)
    (job,) = stage.jobs()
    assert stage.clips is not None
    assert (stage.clips.lost["bytes"], job.size <= MIB) == (1, True)
    assert stage.recorder.ring.bytes <= MIB


def test_all_streams_and_what_waits_share_the_memory_there_is(tmp_path: Path) -> None:
    first = Stage(tmp_path, {"session_mb": 2, "total_mb": 4, "post_s": 0.1})
    stages = [first, *(Stage(tmp_path, clips=first.clips, id=f"stream{number}") for number in range(7))]
    for _ in range(3):
        for stage in stages:
            stage.play(4, JPEG + bytes(100_000))
    assert first.clips is not None
    assert 3 * MIB < first.clips.held <= 4 * MIB
    assert max(stage.recorder.ring.bytes for stage in stages) <= MIB / 2
    first.sight("a")
    first.play(11, JPEG + bytes(100_000))
    stages[1].play(4, JPEG + bytes(100_000))
    assert stages[1].recorder.ring.bytes < MIB / 2  # a clip waits
    for stage in stages:
        stage.recorder.close()
    first.jobs()
    assert sum(stage.recorder.ring.bytes for stage in stages) == 0


def test_of_too_many_clips_the_oldest_is_given_up_and_its_events_have_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"waiting": 2, "pre_s": 0, "post_s": 0.1, "most_s": 1})
    reels = []
    for name in "abc":
        stage.sight(name)
        stage.play(3)
        assert stage.clips is not None
        reels.append(stage.clips.archive.of(name))
    assert [reel.clip for reel in reels if reel is not None] == ["failed", "waiting", "waiting"]
    assert stage.clips is not None
    assert stage.clips.lost == {"waiting": 1}
    assert len(stage.jobs()) == 2


def test_a_camera_that_is_lost_gets_its_last_picture_and_a_clip_of_what_was_before(tmp_path: Path) -> None:
    """It is told `lost_s` after its source has failed, which is noticed when it has been silent for a while."""
    stage = Stage(tmp_path, {"pre_s": 3})
    media = stage.settings.media
    stage.play(20)
    last = stage.frame()
    stage.silence(media.no_frame_s + media.lost_s)
    assert stage.lost("a").snapshot_url == "/api/events/a/snapshot.jpg"
    assert stage.clips is not None
    assert stage.clips._stills["a"].frame is last
    stage.silence(30)
    (job,) = stage.jobs()
    assert (job.pieces[-1].at - last.received_at <= 0, 3 <= length(job) <= 3.3) == (True, True)


def test_what_a_silent_stream_keeps_goes_when_nothing_can_need_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 3})
    stage.play(20)
    kept = stage.recorder.ring.bytes
    stage.silence(25)
    assert 0 < stage.recorder.ring.bytes <= kept
    stage.silence(10)
    assert stage.recorder.ring.bytes == 0


def test_a_clip_after_a_long_silence_shows_nothing_from_before_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 3, "post_s": 1})
    stage.play(20)
    stage.silence(20)
    stage.play(1)
    stage.sight("a")
    stage.sight("a", "end")
    stage.play(3)
    (job,) = stage.jobs()
    assert length(job) <= 2.5


def packets(stage: Stage, *, key: bool) -> None:
    """Half a second of H.264."""
    stage.now += 0.5
    at = stage.now
    stamps = [Stamp(100, at - 0.5 + number / 10, 0.0, key and number == 0) for number in range(5)]
    stage.recorder.packets(bytes(500), stamps)


def test_packets_are_kept_instead_of_pictures_as_long_as_they_come(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 2, "post_s": 1})
    stage.play(1)
    for number in range(60):
        packets(stage, key=number % 4 == 0)
        stage.frame()
    assert stage.recorder.ring.coded
    stage.sight("a")
    event_at = stage.now
    for number in range(8):
        packets(stage, key=number % 4 == 0)
        stage.recorder.tick(stage.now)
        if number == 1:
            stage.sight("a", "end")
    (job,) = stage.jobs()
    assert job.order(5, 1280)["do"] == "remux"
    assert job.pieces[0].key
    assert event_at - 2 - 2.5 <= job.pieces[0].at <= event_at - 2
    stage.play(4)
    assert (stage.recorder.ring.coded, len(stage.recorder.ring) > 0) == (False, True)


def test_a_clip_that_began_with_pictures_goes_on_with_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"pre_s": 1, "post_s": 1})
    stage.play(2)
    stage.sight("a")
    for number in range(4):
        packets(stage, key=number % 2 == 0)
        stage.play(0.5)
    stage.sight("a", "end")
    stage.play(1.5)
    (job,) = stage.jobs()
    assert not job.pieces[0].stamps
    assert 5 <= length(job) <= 7
    packets(stage, key=True)
    assert stage.recorder.ring.coded


@pytest.mark.parametrize("ending", ["deleted", "shutdown"])
def test_a_stream_that_ends_makes_a_clip_of_what_it_has(tmp_path: Path, ending: str) -> None:
    stage = Stage(tmp_path)
    stage.play(2)
    stage.sight("a")
    stage.play(1)
    stage.reason = ending
    stage.recorder.tick(stage.now)
    stage.recorder.close()
    (job,) = stage.jobs()
    assert 2.8 <= length(job) <= 3.2
    assert (stage.recorder.ring.bytes, stage.recorder in stage.clips.recorders if stage.clips else True) == (0, False)
