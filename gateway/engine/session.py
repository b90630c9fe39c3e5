"""Session: one live stream, from request to teardown. Frames come in, go to analyzers and viewers; results go out.

Touched only on the event loop, and nothing in here waits: a slow analyzer or viewer loses frames, counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from gateway.engine.answers import Answers
from gateway.engine.audience import RAW, Audience
from gateway.engine.clips import Clips
from gateway.engine.findings import Findings
from gateway.engine.host import Report
from gateway.engine.intake import Intake
from gateway.engine.lease import Lease
from gateway.engine.lineup import Lineup, Places
from gateway.engine.picture import DRAWN, Painter, Variant
from gateway.engine.place import Camera, Place, Publisher
from gateway.engine.rate import Rate
from gateway.engine.recorder import Recorder
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.slate import Slate
from gateway.engine.slot import Slot, Stage
from gateway.engine.snapshots import Snapshots
from gateway.engine.subscriber import Subscriber
from gateway.errors import GatewayError, NoPicture, SessionEnded
from gateway.frame import Frame, iso
from gateway.geometry import shape_to_json
from gateway.jpeg import read_header, tidied
from gateway.protocol import CLOSE_RESTART, SCHEMA, bye_message, message
from gateway.settings import Settings

log = logging.getLogger(__name__)

State = Literal["waiting", "live", "stale", "ended"]

COUNTS = {"faces": ("faces", "ids"), "bags": ("bags", "owned")}  # of `Session.measures`, by analyzer
LAST_WORDS_S = 1.5  # how long a client may take to hear of a shutdown; the server waits for 3 s
TICK_S = 0.25  # how finely stalled viewers, idle pictures and ends of events are noticed


class Session:
    """One live stream."""

    def __init__(
        self,
        stream_id: str,
        request: SessionRequest,
        settings: Settings,
        *,
        painter: Painter,
        clips: Clips,
        clock: Callable[[], float],
    ) -> None:
        now = clock()
        self.id = stream_id
        self.session_id = ""  # for people: the day and its how-manieth session
        self.name = request.name
        self.camera_id = request.camera_id
        self.request = request
        self.settings = settings
        self.lease = Lease(now, self._grace_s(request), settings.lease_s)
        self.created_at = datetime.now(UTC)
        self.reason: str | None = None
        self.changed = asyncio.Event()
        self.gone = asyncio.Event()
        self.latest: Frame | None = None
        self.camera: Camera | None = None
        self.frames = Rate()
        self.intake = Intake(self._max_fps(request), max_pixels=settings.limits.max_pixels, clock=clock)
        self.answers = Answers()
        self.audience = Audience(painter, most=settings.limits.max_viewers)
        self.lineup = Lineup(self)
        self._painter = painter
        self._clock = clock
        self._place = Place()
        self._snapshots = Snapshots(painter, most=settings.stream.snapshot_forms)
        self._slate = Slate(self, painter)
        self._told_status_at = float("-inf")
        self._told_standing: object = None
        self.recorder = Recorder(self, clips, clock)
        self.findings = Findings(self, clock)

    def assume(self, request: SessionRequest, stages: Iterable[Stage], places: Places) -> None:
        """Be as a request has it from now on, with these analyzers in these slots."""
        self.request, self.name = request, request.name
        self.lease.grace_s = self._grace_s(request)
        self.intake.max_fps = self._max_fps(request)
        shapes = [shape_to_json(shape) for shape in request.zones]
        self.audience.backdrop = {DRAWN: {"detections": [], "shapes": shapes}} if shapes else {}
        self.findings.forget(self.lineup.assign(stages, places))
        for stage in self.stages:
            self.findings.heed(stage.runner)
        if request.paused and not self.lineup.paused:
            self.findings.rest()
        self.lineup.pause(request.paused)
        self.changed.set()

    def analyzer_changed(self, runner: Runner) -> None:
        """The state of one of its analyzers is another one."""
        self.findings.heed(runner)
        self.send_status()

    def _grace_s(self, request: SessionRequest) -> float:
        return self.settings.grace_s if request.grace_s is None else request.grace_s

    def _max_fps(self, request: SessionRequest) -> float:
        most = self.settings.limits.max_fps
        return min(request.max_fps or most, most)

    # --- identity and state ------------------------------------------------------------------------------------------

    @property
    def stages(self) -> list[Stage]:
        return self.lineup.stages

    @property
    def max_fps(self) -> float:
        """Frames per second it takes at most."""
        return self.intake.max_fps

    @property
    def state(self) -> State:
        if self.reason is not None:
            return "ended"
        if self.latest is None:
            return "waiting"
        return "stale" if self._clock() - self.latest.received_at > self.settings.stream.stale_s else "live"

    def status(self) -> dict[str, Any]:
        """For `GET /stream/{id}`."""
        now = self._clock()
        return {
            "stream_id": self.id,
            "name": self.name,
            "camera_id": self.camera_id,
            "state": self.state,
            "reason": self.reason,
            "paused": self.lineup.paused,
            "created_at": iso(self.created_at),
            "age_s": round(now - self.lease.opened_at, 3),
            "camera": self.camera.describe() if self.camera else None,
            "publishers": int(self._place.holder is not None),
            "viewers": self.viewers,
            "fps_in": round(self.frames.value(now), 2),
            "fps_analyzed": round(self.findings.analyzed.value(now), 2),
            "frames_in": self.frames.total,
            "frames_analyzed": self.findings.analyzed.total,
            "dropped": self.dropped(),
            "analyzers": [stage.describe() for stage in self.stages],
            "events_open": len(self.findings.open_events),
            "clock_skew_s": self._skew(self.latest) if self.latest else None,
            "width": self.latest.width if self.latest else None,
            "height": self.latest.height if self.latest else None,
            "zones": [shape_to_json(shape) for shape in self.request.zones],
        }

    def measures(self) -> dict[str, Any]:
        """What is counted at this camera now. Raises `NoPicture` before the first frame.

        The four counts are whole numbers, 0 where their analyzer does not run or has not looked; `measures` has all of
        every analyzer's last result.
        """
        if self.latest is None:
            raise NoPicture("no frame has come in yet", code="no_frame_yet", retry_after_s=1)
        found = self.findings.measures()
        counts = {key: int(found.get(name, {}).get(key, 0)) for name, keys in COUNTS.items() for key in keys}
        return {"camera_id": self.camera_id, **counts, "session_id": self.session_id, "measures": found}

    def dropped(self) -> dict[str, dict[str, int]]:
        """Frames that went by, per stage of their way and reason."""
        counts = {
            "ingest": self.ingest_dropped,
            "analysis": self.lineup.dropped,
            "viewers": self.audience.dropped(),
        }
        return {stage: {reason: n for reason, n in found.items() if n} for stage, found in counts.items()}

    @property
    def lost(self) -> int:
        """Frames a publisher sent in vain: refused, or replaced before any analyzer saw them."""
        return self.ingest_dropped.total() + self.lineup.lost

    def utc_of(self, moment: float) -> datetime:
        """The wall clock at a moment of the monotonic one."""
        return datetime.now(UTC) - timedelta(seconds=self._clock() - moment)

    # --- publishers --------------------------------------------------------------------------------------------------

    def claim(self, publisher: Publisher, *, resume: str | None = None) -> None:
        """Make this the publisher. Raises `SecondPublisher` while another one is sending and holds its place."""
        self.check_place(publisher, resume=resume)
        if self._place.take(publisher, self._clock()):
            self.changed.set()

    def check_place(self, publisher: Publisher, *, resume: str | None = None) -> None:
        """Raises as `claim`."""
        self._place.check(publisher, self.latest, resume=resume, now=self._clock())

    def resign(self, publisher: Publisher) -> None:
        if self._place.resign(publisher):
            self.changed.set()

    # --- frames in ---------------------------------------------------------------------------------------------------

    def put(self, jpeg: bytes, *, seq: int | None = None, captured_at: datetime | None = None) -> Frame | None:
        """Take a JPEG; None if it came faster than the stream's `max_fps`.

        Raises `BadImage` or `ImageTooLarge`, and `SessionEnded` when it comes too late.
        """
        self.check_live()
        return self._take(jpeg, seq, captured_at) if self.intake.admits() else None

    async def put_foreign(
        self, publisher: Publisher, image: bytes, *, seq: int | None = None, captured_at: datetime | None = None
    ) -> Frame | None:
        """The same for a PNG or WebP, which the picture worker makes a JPEG if it is wanted.

        Raises `SecondPublisher` too, if somebody else took over meanwhile.
        """
        self.check_live()
        if not self.intake.admits():
            return None
        try:
            jpeg = await self._painter.to_jpeg(image, max_pixels=self.settings.limits.max_pixels)
        except GatewayError as error:
            self.ingest_dropped[error.code] += 1
            raise
        self.check_live()
        self.claim(publisher)
        return self._take(jpeg, seq, captured_at)

    def check_live(self) -> None:
        """Raises `SessionEnded` if it has ended."""
        if self.reason is not None:
            raise SessionEnded(f"the stream has ended: {self.reason}", reason=self.reason)

    def _take(self, jpeg: bytes, seq: int | None, captured_at: datetime | None) -> Frame:
        frame = self.intake.frame(jpeg, seq, captured_at)
        self._fan_out(frame, frame.received_at)
        return frame

    @property
    def ingest_dropped(self) -> Counter[str]:
        """Frames that were refused, by reason."""
        return self.intake.dropped

    @property
    def next_seq(self) -> int:
        return self.intake.next_seq

    def seq_for(self, claim: int | None) -> int:
        """The number the next frame gets if its sender claims this one."""
        return self.intake.seq_for(claim)

    def _fan_out(self, frame: Frame, now: float) -> None:
        first, self.latest = self.latest is None, frame
        self.frames.tick(now)
        self.recorder.picture(frame)
        self.audience.show(frame, undrawn=not self.lineup.looks)
        self.lineup.offer(frame, now)
        if first:
            self.changed.set()

    # --- what analyzers made of them ---------------------------------------------------------------------------------

    def publish(self, frame: Frame, stage: Stage, report: Report) -> None:
        """An analyzer has seen a frame."""
        if self.reason is not None:  # the job was still in flight when the stream ended, and its events are closed
            return
        if stage in self.stages:
            self.findings.take(frame, stage, report)
        else:  # or when it was removed
            self.answers.settle(frame.seq, stage.name, {"state": stage.runner.state, "dropped": "changed"})

    def not_analyzed(self, frame: Frame) -> None:
        """No analyzer saw this frame: say why, and let it be watched all the same."""
        self.findings.tell_states(frame)
        self.findings.draw(frame)

    def job_done(self, frame: Frame, results: Mapping[str, Any], slot: Slot) -> None:
        """A worker is through with a frame: draw it, and pass it on to analyzers elsewhere that need its results."""
        self.findings.draw(frame)
        self.lineup.onwards(frame, results, slot, self._clock())

    def result(self, frame: Frame, analyzers: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a result message (api.md section 2)."""
        skew = self._skew(frame)
        wrong = skew is not None and abs(skew) > self.settings.stream.clock_skew_s
        return {
            "schema": SCHEMA,
            "stream_id": self.id,
            "camera_id": self.camera_id,
            "seq": frame.seq,
            "captured_at": iso(frame.captured_at),
            "received_at": iso(self.utc_of(frame.received_at)),
            "width": frame.width,
            "height": frame.height,
            "analyzers": analyzers,
            "dropped": self.dropped(),
            **({"clock_skew_s": skew} if wrong else {}),
        }

    def _skew(self, frame: Frame) -> float | None:
        """How far the sender's clock is before ours, in s: its claim of the capture time against the arrival."""
        if frame.captured_at is None:
            return None
        return round((frame.captured_at - self.utc_of(frame.received_at)).total_seconds(), 3)

    # --- viewers -----------------------------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        """Everybody who watches, by any transport; the publisher's own sockets do not count."""
        return self.audience.without(self._place.token)

    def watch(self, subscriber: Subscriber, variant: Variant = RAW) -> None:
        """Send it pictures of this form, beginning with the newest there is. Raises `AtCapacity`."""
        self.audience.watch(subscriber, variant, self.latest)

    async def snapshot(self, variant: Variant) -> tuple[Frame, bytes]:
        """The newest frame and its picture in this form. Raises `NoPicture`, or `BadImage` if it cannot be made."""
        frame = self.latest
        if frame is None:
            raise NoPicture("no frame has come in yet", code="no_frame_yet", retry_after_s=1)
        if variant.leaves(frame):
            return frame, tidied(frame.jpeg, read_header(frame.jpeg), exact=True)  # it may be kept as a file
        if (made := self.audience.made(frame, variant)) is not None:
            return frame, made
        return frame, await self._snapshots.get(frame, variant, self.findings.recent())

    def send_status(self) -> None:
        if self.audience.listens("status"):
            self.audience.send("status", message("status", **self.status()))

    def relay(self, data: Any, sender: Subscriber) -> None:
        """A client's message for everybody else on the stream."""
        self.audience.send("messages", message("message", data=data), but=sender)

    # --- life and the end --------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Watch the lease, the viewers and the clock until the session is over."""
        while self.reason is None:
            deadline, now = self.lease.deadline(), self._clock()
            if deadline is not None and now >= deadline:
                self.end(self.lease.reason())
                break
            busy = self.findings.open_events or self.audience or self.recorder.recording
            pause = TICK_S if busy else self.settings.stream.status_s
            await self._change_within(pause if deadline is None else min(pause, deadline - now))
            self._tick(self._clock())

    def _tick(self, now: float) -> None:
        self.findings.expire(self.intake.now(now))
        self.recorder.tick(now)
        self.audience.cut_stalled(now, self.settings.limits.viewer_stall_s)
        self._slate.fill(now)
        self.changed.clear()
        standing = (self._place.holder, self.viewers, self.state)
        if standing != self._told_standing or now - self._told_status_at >= self.settings.stream.status_s:
            self._told_status_at, self._told_standing = now, standing
            self.send_status()

    async def _change_within(self, pause: float) -> None:
        try:
            async with asyncio.timeout(pause):
                await self.changed.wait()
        except TimeoutError:
            pass

    def end(self, reason: str) -> None:
        """Say why it is over; the session's own task does the rest."""
        if self.reason is None:
            self.reason = reason
            self.changed.set()

    def close(self, *, retry_ms: int | None = None) -> None:
        """End what is open, tell everybody, leave the workers. Called once, by the session's task."""
        if self.camera is not None:
            self.camera.close()
        self.findings.finish()
        self.recorder.close()
        reason = self.reason or "ended"
        shutdown = reason == "shutdown"
        code = CLOSE_RESTART if shutdown else 4404
        self.audience.close(code, reason, bye_message(reason, retry_ms=retry_ms))
        self.audience.cut_later(LAST_WORDS_S if shutdown else self.settings.limits.viewer_stall_s)
        if self._place.holder is not None:
            self._place.holder.displaced()
        self.lineup.leave()
        self.answers.close()
