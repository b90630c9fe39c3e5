"""Recorder: what one session keeps for clips, and the events that get one.

A recording begins with an event and goes on while events last, at most `clips.most_s`; all events meanwhile share its
clip. What is longer ago than a clip begins before its event is forgotten; of a stream that gives nothing, later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.engine.archive import Reel
from gateway.engine.clips import Clips, Job, Still
from gateway.engine.picture import DRAWN, Overlay
from gateway.engine.ring import Piece, Ring, Stamp
from gateway.events import Event
from gateway.frame import Frame

if TYPE_CHECKING:
    from gateway.engine.session import Session

LATE_S = 5.0  # results come later than their frames, at most so much
SILENT_S = 3.0  # without packets for so long, pictures are kept again
PARCEL_S = 0.6  # packets come so much later
MOST_EVENTS = 100  # of one clip
EARLY = 0.25  # of an interval that a picture may come before it is due
SEVERITIES: Final = ("info", "warning", "critical")


@dataclass(slots=True, eq=False)
class Recording:
    """A clip that is not over. Times are the gateway's monotonic clock, s."""

    reel: Reel
    since: float
    until: float
    limit: float
    open: set[str] = field(default_factory=set)  # its events that have not ended


class Recorder:
    """Of one session, touched only on the event loop. Its findings hear which events' clips can be had."""

    def __init__(self, session: Session, clips: Clips, clock: Callable[[], float]) -> None:
        self.ring = Ring()
        self._session = session
        self._clips = clips
        self._rules = clips.rules
        self._spare_s = clips.rules.pre_s + LATE_S
        media = session.settings.media  # by then it is told that a camera is lost
        self._silent_s = max(media.read_s, media.no_frame_s) + media.lost_s + self._spare_s
        self._clock = clock
        self._recording: Recording | None = None
        self._due = float("-inf")
        self._packets_at = float("-inf")
        self._reels: dict[str, Reel] = {}  # of events that are open, or whose clip is to come

    @property
    def wanted(self) -> bool:
        """Whether there may be an event to show."""
        return self._rules.on and bool(self._session.stages)

    @property
    def recording(self) -> bool:
        return self._recording is not None

    # --- what comes --------------------------------------------------------------------------------------------------

    def picture(self, frame: Frame) -> None:
        """A frame of the session: kept if its time has come, and no packets are."""
        now, step = frame.received_at, 1 / self._rules.fps
        if not self.wanted or now - self._packets_at < SILENT_S or now < self._due - EARLY * step:
            return
        self._due = now + step if now - self._due > step else self._due + step
        self._add(Piece(now, frame.jpeg))

    def packets(self, data: bytes, stamps: Sequence[Stamp]) -> None:
        """H.264 as the camera sent it. A keyframe stands first or nowhere."""
        if not self.wanted or not stamps:
            return
        if self._recording is not None and not self.ring.coded:  # it goes on with pictures
            return
        self._packets_at = now = self._clock()
        self._add(Piece(now - (stamps[-1].at - stamps[0].at), data, stamps[0].key, tuple(stamps)))

    def begin_anew(self) -> None:
        """What comes now is another stream, of another size: a clip is of one."""
        if self.ring.coded:
            self._finish()
            self.ring.clear()

    def _add(self, piece: Piece) -> None:
        self._clips.recorders.add(self)
        self._forget(piece.at)
        if self.ring.coded != bool(piece.stamps) and len(self.ring):  # a clip is of one kind
            self._finish()
            self.ring.clear()
        most = self._clips.share()
        if self._recording is not None and self.ring.bytes + len(piece.data) > most:
            self._clips.lost["bytes"] += 1
            self._finish()
        self.ring.add(piece, most=most)

    def _forget(self, now: float) -> None:
        needed = now - self._spare_s
        self.ring.forget(needed if self._recording is None else min(needed, self._recording.since))

    # --- events ------------------------------------------------------------------------------------------------------

    def told(self, event: Event, frame: Frame | None, overlay: Overlay) -> Event:
        """An event is about to be told, by what was seen in `frame`: the same with its addresses."""
        if event.phase == "new" and frame is not None and self._films(event):
            self._attach(event, frame)
        reel = self._reels.get(event.id)
        if reel is None:
            return event
        if frame is not None and event.seq in (None, frame.seq) and reel.name in self._clips.archive.reels:
            self._clips.keep(event.id, Still(reel, frame, _record(event, frame, overlay)))
        if event.phase == "end" and self._recording is not None and event.id in self._recording.open:
            self._prolong(self._recording, self._clock())
            self._recording.open.discard(event.id)
        dressed = self.dressed(event)
        if event.phase == "end" and not reel.busy:
            del self._reels[event.id]
        return dressed

    def _films(self, event: Event) -> bool:
        return self._rules.on and SEVERITIES.index(event.severity) >= SEVERITIES.index(self._rules.severity)

    def _attach(self, event: Event, frame: Frame) -> None:
        """To the clip that is being recorded, or to a new one."""
        now, rules = frame.received_at, self._rules
        recording = self._recording
        if recording is None or now >= recording.limit:
            self._finish()
            since = now - rules.pre_s
            recording = Recording(self._clips.begin(self._session.id), since, now, since + rules.most_s)
            self._recording = recording
        if len(recording.reel.events) >= MOST_EVENTS:
            self._clips.lost["events"] += 1
            return
        self._prolong(recording, now)
        recording.open.add(event.id)
        self._clips.archive.add(recording.reel, event.id)
        self._reels[event.id] = recording.reel

    def _prolong(self, recording: Recording, now: float) -> None:
        """Something happens now: what comes after it belongs to the clip."""
        recording.until = max(recording.until, min(now + self._rules.post_s, recording.limit))
        recording.reel.due = recording.until + 1.0

    def dressed(self, event: Event) -> Event:
        """An event with the addresses of what there is of it."""
        if (reel := self._reels.get(event.id)) is None:
            return event
        place = f"/api/events/{event.id}"
        clip_url = f"{place}/clip.mp4" if reel.clip == "ready" else None
        return replace(event, snapshot_url=f"{place}/snapshot.jpg", clip_url=clip_url)

    # --- clips -------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """End a recording whose time is over, and forget what is long ago.

        The end of a stream that has fallen silent stays: `camera_lost`, which comes much later, shows it.
        """
        recording = self._recording
        if recording is not None:
            if recording.open:
                self._prolong(recording, now)
            if now >= recording.until + (PARCEL_S if self.ring.coded else 0.0):
                self._finish()
        if not self.wanted:
            self.ring.clear()
        newest = self.ring.newest
        self._forget(now if now - newest > self._silent_s else min(now, newest))

    def _finish(self) -> None:
        """The recording is over: its clip is made of what is there."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        pieces = tuple(self.ring.since(recording.since))
        if pieces:
            self._clips.submit(Job(recording.reel, pieces, self._done))
        else:
            recording.reel.clip = "failed"
            self._done(recording.reel)

    def _done(self, reel: Reel) -> None:
        """A clip is there, or will not come."""
        ended = [event_id for event_id, own in self._reels.items() if own is reel]
        if reel.clip == "ready":
            self._session.findings.clip_ready(ended)
        lasting = {event.id for event in self._session.findings.open_events}
        for event_id in ended:
            if event_id not in lasting:
                self._reels.pop(event_id, None)

    def close(self) -> None:
        """The session is over: what it had is made a clip."""
        self._finish()
        self.ring.clear()
        self._clips.recorders.discard(self)


def _record(event: Event, frame: Frame, overlay: Overlay) -> Mapping[str, Any]:
    """What is kept beside a picture: the event as it was told, and what is drawn on the picture."""
    drawn = {
        name: {key: result[key] for key in ("detections", "shapes") if key in result}
        for name, result in overlay.items()
    }
    boxes = {tuple(found["box"]) for result in drawn.values() for found in result["detections"]}
    if event.box is not None and tuple(event.box) not in boxes:
        about = {"label": event.label or event.event_type, "score": event.score, "box": list(event.box)}
        drawn[DRAWN] = {**drawn.get(DRAWN, {}), "detections": [about]}
    return {
        "event": event.to_wire(),
        "seq": frame.seq,
        "width": frame.width,
        "height": frame.height,
        "overlay": drawn,
    }
