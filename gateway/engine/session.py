"""Session: one live stream, from request to teardown. Frames come in, go to analyzers and viewers; results go out.

Touched only on the event loop, and nothing in here waits: a slow analyzer or viewer loses frames, counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from gateway.engine.answers import Answers
from gateway.engine.audience import RAW, Audience
from gateway.engine.dispatcher import Dispatcher
from gateway.engine.host import Report
from gateway.engine.lease import Lease
from gateway.engine.picture import Overlay, Painter, Picture, Variant
from gateway.engine.rate import Allowance, Rate
from gateway.engine.slot import Slot, Stage
from gateway.engine.subscriber import Subscriber
from gateway.engine.timeline import Timeline
from gateway.errors import GatewayError, NoPicture, SecondPublisher
from gateway.events import Event, EventMachine
from gateway.frame import Frame, iso
from gateway.jpeg import read_header, tidied
from gateway.protocol import CLOSE_RESTART, SCHEMA, bye_message, message, to_text
from gateway.results import result_from_json, sighting_from_json
from gateway.settings import Settings

log = logging.getLogger(__name__)

State = Literal["waiting", "live", "stale", "ended"]

SILENT_S = 2.0  # a publisher that sent nothing for this long may be replaced
TICK_S = 0.25  # how finely stalled viewers, idle pictures and ends of events are noticed
CARRY_S = 1.0  # boxes of an analyzer that skipped this frame are drawn from its last result if no older


class Publisher(Protocol):
    """Whoever sends frames. `displaced` is called when somebody else takes over; `listens`: it is a subscriber too."""

    token: str
    listens: bool

    def displaced(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a client may ask of a session. None: the default."""

    analyzers: tuple[str, ...] | None = None
    name: str = ""
    options: Mapping[str, Mapping[str, Any]] | None = None
    grace_s: float | None = None
    max_fps: float | None = None
    camera_id: str | None = None


class Session:
    """One live stream."""

    def __init__(
        self,
        stream_id: str,
        request: SessionRequest,
        settings: Settings,
        *,
        painter: Painter,
        clock: Callable[[], float],
    ) -> None:
        now = clock()
        self.id = self.opening = stream_id
        self.name = request.name
        self.camera_id = request.camera_id
        self.settings = settings
        self.lease = Lease(now, settings.grace_s if request.grace_s is None else request.grace_s, settings.lease_s)
        self.created_at = datetime.now(UTC)
        self.reason: str | None = None
        self.changed = asyncio.Event()
        self.gone = asyncio.Event()
        self.latest: Frame | None = None
        self.next_seq = 0
        self.frames = Rate()
        self.analyzed = Rate()
        self.ingest_dropped: Counter[str] = Counter()
        self.events: dict[str, Event] = {}
        self.answers = Answers()
        self.audience = Audience(painter, most=settings.limits.max_viewers)
        self._places: list[tuple[Dispatcher, Slot]] = []
        self._painter = painter
        self._clock = clock
        self._machine = EventMachine(stream_id, camera_id=request.camera_id)
        self._overlay: dict[str, tuple[float, Any]] = {}
        self._publisher: Publisher | None = None
        self.max_fps = min(request.max_fps or settings.limits.max_fps, settings.limits.max_fps)
        self._allowance = Allowance(self.max_fps)
        self._timeline = Timeline(now)
        self._analyzed_seq = -1
        self._told_states_at = self._told_status_at = float("-inf")

    def assign(self, places: Iterable[tuple[Dispatcher, Slot]]) -> None:
        """Give it its analyzers: a slot at each worker that holds some of them."""
        self._places = list(places)

    # --- identity and state ------------------------------------------------------------------------------------------

    @property
    def stages(self) -> list[Stage]:
        return [stage for _, slot in self._places for stage in slot.stages]

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
            "created_at": iso(self.created_at),
            "age_s": round(now - self.lease.opened_at, 3),
            "publishers": int(self._publisher is not None),
            "viewers": self.viewers,
            "fps_in": round(self.frames.value(now), 2),
            "fps_analyzed": round(self.analyzed.value(now), 2),
            "frames_in": self.frames.total,
            "frames_analyzed": self.analyzed.total,
            "dropped": self.dropped(),
            "analyzers": [stage.describe() for stage in self.stages],
            "events_open": len(self._machine.open_events),
            "width": self.latest.width if self.latest else None,
            "height": self.latest.height if self.latest else None,
        }

    def dropped(self) -> dict[str, dict[str, int]]:
        """Frames that went by, per stage of their way and reason."""
        analysis: Counter[str] = Counter()
        for _, slot in self._places:
            for reason in {reason for stage in slot.stages for reason in stage.dropped}:
                analysis[reason] += max(stage.dropped[reason] for stage in slot.stages)
        counts = {"ingest": self.ingest_dropped, "analysis": analysis, "viewers": self.audience.dropped()}
        return {stage: {reason: n for reason, n in found.items() if n} for stage, found in counts.items()}

    @property
    def lost(self) -> int:
        """Frames a publisher sent in vain: refused, or replaced before any analyzer saw them."""
        return self.ingest_dropped.total() + sum(slot.replaced for _, slot in self._places)

    def utc_of(self, moment: float) -> datetime:
        """The wall clock at a moment of the monotonic one."""
        return datetime.now(UTC) - timedelta(seconds=self._clock() - moment)

    # --- publishers --------------------------------------------------------------------------------------------------

    def claim(self, publisher: Publisher, *, resume: str | None = None) -> None:
        """Make this the publisher. Raises `SecondPublisher` while another one is sending and holds its place."""
        current = self._publisher
        if current is publisher:
            return
        if current is not None:
            silent = self.latest is None or self._clock() - self.latest.received_at > SILENT_S
            if not silent and resume != current.token:
                raise SecondPublisher("somebody else is publishing to this stream")
            current.displaced()
        self._publisher = publisher
        self.changed.set()

    def resign(self, publisher: Publisher) -> None:
        if self._publisher is publisher:
            self._publisher = None
            self.changed.set()

    # --- frames in ---------------------------------------------------------------------------------------------------

    def put(self, jpeg: bytes, *, seq: int | None = None, captured_at: datetime | None = None) -> Frame | None:
        """Take a JPEG; None if it came faster than the stream's `max_fps`. Raises `BadImage` or `ImageTooLarge`."""
        now = self._clock()
        if not self._allowance.take(now):
            self.ingest_dropped["max_fps"] += 1
            return None
        try:
            header = read_header(jpeg, max_pixels=self.settings.limits.max_pixels)
        except GatewayError as error:
            self.ingest_dropped[error.code] += 1
            raise
        if seq is None or seq < self.next_seq:
            seq = self.next_seq
        self.next_seq = seq + 1
        frame = Frame(
            seq,
            now,
            header.width,
            header.height,
            tidied(jpeg, header),
            captured_at,
            self._timeline.place(captured_at, now),
        )
        self._fan_out(frame, now)
        return frame

    async def transcode(self, image: bytes) -> bytes:
        """A PNG or WebP as JPEG, through the picture worker."""
        try:
            return await self._painter.to_jpeg(image, max_pixels=self.settings.limits.max_pixels)
        except GatewayError as error:
            self.ingest_dropped[error.code] += 1
            raise

    def _fan_out(self, frame: Frame, now: float) -> None:
        first, self.latest = self.latest is None, frame
        self.frames.tick(now)
        for dispatcher, slot in self._places:
            if not slot.needs_from_elsewhere:
                dispatcher.offer(slot, frame)
        self.audience.show(frame, undrawn=not self._places)
        if first:
            self.changed.set()

    # --- results out -------------------------------------------------------------------------------------------------

    def publish(self, frame: Frame, stage: Stage, report: Report) -> None:
        """An analyzer has seen a frame: tell viewers, remember its boxes, make events of its sightings."""
        now = self._clock()
        result = report["result"]
        if frame.seq > self._analyzed_seq:
            self._analyzed_seq = frame.seq
            self.analyzed.tick(now)
        self._overlay[stage.name] = (now, result)
        about = stage.runner.manifest
        outcome: dict[str, Any] = {
            "version": about.version,
            "state": "ready",
            "latency_ms": report["ms"],
            "age_ms": round((now - frame.received_at) * 1e3, 2),
            "detections": result["detections"],
            "measures": result["measures"],
        }
        if result["data"]:
            outcome["data"] = result["data"]
        self._send_result(frame, {stage.name: outcome, **self._states_but(stage)})
        self.answers.settle(frame.seq, stage.name, outcome)
        self._observe(frame, stage, result["sightings"])

    def not_analyzed(self, frame: Frame) -> None:
        """No analyzer saw this frame: say so at most once a second, and let it be watched."""
        now = self._clock()
        if self._places and now - self._told_states_at >= 1.0:
            self._told_states_at = now
            if states := self._states_but(None):
                self._send_result(frame, states)
        self._draw(frame)

    def job_done(self, frame: Frame, results: Mapping[str, Any], slot: Slot) -> None:
        """A worker is through with a frame: draw it, and pass it on to analyzers elsewhere that need its results."""
        self._draw(frame)
        if slot.feeds:
            seen = {**frame.results, **{name: result_from_json(item) for name, item in results.items()}}
            for dispatcher, fed in self._places:
                if fed in slot.feeds:
                    dispatcher.offer(fed, replace(frame, results=seen))

    def _draw(self, frame: Frame) -> None:
        if self.audience.draws:
            self.audience.draw(frame, self._recent_boxes())

    def _recent_boxes(self) -> Overlay:
        now = self._clock()
        return {name: result for name, (at, result) in self._overlay.items() if now - at < CARRY_S}

    def _send_result(self, frame: Frame, analyzers: dict[str, Any]) -> None:
        if self.audience.listens("results"):
            self.audience.send("results", message("result", **self.result(frame, analyzers)))

    def result(self, frame: Frame, analyzers: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a result message (api.md section 2)."""
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
        }

    def _states_but(self, reporting: Stage | None) -> dict[str, Any]:
        """The analyzers that cannot report now, with their state."""
        return {
            stage.name: {
                "state": stage.runner.state,
                **({"reason": stage.runner.reason} if stage.runner.reason else {}),
            }
            for stage in self.stages
            if stage is not reporting and stage.runner.state != "ready"
        }

    # --- events ------------------------------------------------------------------------------------------------------

    def _observe(self, frame: Frame, stage: Stage, sightings: list[dict[str, Any]]) -> None:
        """Make events of what was sighted, and end what no longer is."""
        if sightings:
            about = stage.runner.manifest
            found = [sighting_from_json(item) for item in sightings]
            utc = self.utc_of(frame.received_at)
            told = self._machine.observe(about.name, about.version, found, now=frame.at, utc=utc, seq=frame.seq)
            for event in told:
                self.announce(event)
        self._expire(frame.at)

    def announce(self, event: Event) -> None:
        """The one place an event is told from. Until there is a store, events live with their session."""
        self.events.pop(event.id, None)
        self.events[event.id] = event
        while len(self.events) > self.settings.stream.events_kept:
            del self.events[next(iter(self.events))]
        log.info("stream %s: event %s %s %s", self.id, event.event_type, event.phase, event.id)
        if self.audience.listens("events"):
            self.audience.send("events", to_text(event.to_wire()))

    def _expire(self, at: float) -> None:
        for event in self._machine.expire(at):
            self.announce(event)

    # --- viewers -----------------------------------------------------------------------------------------------------

    @property
    def viewers(self) -> int:
        """Everybody who watches, by any transport; a publisher's own socket does not count."""
        return max(0, len(self.audience) - int(self._publisher is not None and self._publisher.listens))

    def watch(self, subscriber: Subscriber, variant: Variant = RAW) -> None:
        """Send it pictures of this form, beginning with the newest there is. Raises `AtCapacity`."""
        self.audience.watch(subscriber, variant, self.latest)

    async def snapshot(self, variant: Variant) -> tuple[Frame, bytes]:
        """The newest frame and its picture in this form. Raises `NoPicture`, or `BadImage` if it cannot be made."""
        frame = self.latest
        if frame is None:
            raise NoPicture("no frame has come in yet", code="no_frame_yet", retry_after_s=1)
        if variant.raw:
            return frame, frame.jpeg
        return frame, await self._painter.redraw(frame, variant, self._recent_boxes())

    async def slate(self, lines: list[str]) -> Picture:
        """A picture that says why there is none."""
        frame = self.latest or Frame(0, self._clock(), 640, 360, b"")
        jpeg = await self._painter.slate(lines, frame.width, frame.height)
        return Picture(frame, jpeg, self.state)

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
            pause = TICK_S if self._machine.open_events or self.audience else self.settings.stream.status_s
            await self._change_within(pause if deadline is None else min(pause, deadline - now))
            await self._tick(self._clock())

    async def _tick(self, now: float) -> None:
        self._expire(self._timeline.now(now))
        self.audience.cut_stalled(now, self.settings.limits.viewer_stall_s)
        await self._fill(now)
        if self.changed.is_set() or now - self._told_status_at >= self.settings.stream.status_s:
            self._told_status_at = now
            self.send_status()
        self.changed.clear()

    async def _fill(self, now: float) -> None:
        """Show idle picture viewers the last picture again, or a slate with the reason when the stream is stale."""
        idle = self.audience.idle(now, self.settings.mjpeg.idle_repeat_s)
        if not idle:
            return
        state = self.state
        slate = None
        if state != "live":
            words = {"waiting": "waiting for the first frame", "stale": "no frames are coming in"}
            slate = await self.slate([self.name or self.id[:8], words.get(state, state)])
        for viewer in idle:
            self.audience.show_again(viewer, slate)

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
        for event in self._machine.finish():
            self.announce(event)
        reason = self.reason or "ended"
        code = CLOSE_RESTART if reason == "shutdown" else 4404
        self.audience.close(code, reason, bye_message(reason, retry_ms=retry_ms))
        for dispatcher, slot in self._places:
            dispatcher.leave(slot)
