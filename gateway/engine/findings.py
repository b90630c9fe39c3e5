"""Findings: what analyzers found in one session, on its way out.

Results go to viewers as soon as each is there, boxes to whoever watches drawn pictures, sightings to the machine that
makes events of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.engine.host import Report
from gateway.engine.picture import Overlay
from gateway.engine.rate import Rate
from gateway.engine.runner import Runner
from gateway.engine.slot import Stage
from gateway.events import Event, EventMachine
from gateway.frame import Frame
from gateway.protocol import message, to_text
from gateway.results import Sighting, sighting_from_json

if TYPE_CHECKING:
    from gateway.engine.session import Session

log = logging.getLogger(__name__)

CARRY_S = 1.0  # boxes of an analyzer that skipped this frame are drawn from its last result if no older
PATIENCE_S = 10.0  # events of an analyzer that has stopped looking while frames come are not kept for longer
FAILED, LOST = SYSTEM = ("analyzer_failed", "camera_lost")  # told by the gateway itself, of no frame
STATES_S = 1.0  # while nobody analyses, the reasons are told this often


class Findings:
    """Results, boxes and events of one session. `events` holds its latest ones by id."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        self.analyzed = Rate()
        self.events: dict[str, Event] = {}
        self._session = session
        self._clock = clock
        self._machine = EventMachine(session.id, camera_id=session.camera_id)
        self._overlay: dict[str, tuple[float, Any]] = {}
        self._looked_at: dict[str, float] = {}  # on the session's clock, by analyzer
        self._newest_seq = self._drawn_seq = -1
        self._told_states_at = float("-inf")

    def take(self, frame: Frame, stage: Stage, report: Report) -> None:
        """An analyzer's result for a frame: told at once, its boxes remembered, its sightings made events."""
        now = self._clock()
        result = stage.result(report, now)
        if frame.seq > self._newest_seq:
            self._newest_seq = frame.seq
            self.analyzed.tick(now)
        self._overlay[stage.name] = (now, result)
        outcome: dict[str, Any] = {
            "version": stage.runner.manifest.version,
            "state": "ready",
            "latency_ms": report["ms"],
            "age_ms": round((now - frame.received_at) * 1e3, 2),
            "detections": [{"id": f"{frame.seq}-{n}", **item} for n, item in enumerate(result["detections"])],
            "measures": result["measures"],
        }
        if result["data"]:
            outcome["data"] = result["data"]
        self._send(frame, {stage.name: outcome, **self._states(but=stage)})
        self._session.answers.settle(frame.seq, stage.name, outcome)
        self._observe(frame, stage, result["sightings"])

    def tell_states(self, frame: Frame) -> None:
        """Nobody saw this frame: say why, at most once a second."""
        now = self._clock()
        if now - self._told_states_at >= STATES_S and (states := self._states()):
            self._told_states_at = now
            self._send(frame, states)

    def _states(self, but: Stage | None = None) -> dict[str, Any]:
        """The analyzers that cannot report now, with their state and its reason."""
        absent = [stage.runner for stage in self._session.stages if stage is not but and stage.runner.state != "ready"]
        return {
            runner.name: {"state": runner.state, **({"reason": runner.reason} if runner.reason else {})}
            for runner in absent
        }

    def _send(self, frame: Frame, analyzers: Mapping[str, Any]) -> None:
        audience = self._session.audience
        if audience.listens("results"):
            audience.send("results", message("result", **self._session.result(frame, analyzers)))

    # --- boxes -------------------------------------------------------------------------------------------------------

    def draw(self, frame: Frame) -> None:
        """A frame is through: whoever watches it with boxes can have it now, unless a newer one was through before."""
        if frame.seq < self._drawn_seq:
            return
        self._drawn_seq = frame.seq
        if self._session.audience.draws:
            self._session.audience.draw(frame, self.recent())

    def recent(self) -> Overlay:
        """Each analyzer's last result, unless it is too old to be drawn on a new frame."""
        now = self._clock()
        recent = {name: result for name, (at, result) in self._overlay.items() if now - at < CARRY_S}
        return {**self._session.audience.backdrop, **recent}

    def measures(self) -> dict[str, dict[str, Any]]:
        """What each analyzer measured when it last looked, by name."""
        return {name: dict(result["measures"]) for name, (_, result) in self._overlay.items()}

    # --- events ------------------------------------------------------------------------------------------------------

    @property
    def open_events(self) -> list[Event]:
        return self._machine.open_events

    def _observe(self, frame: Frame, stage: Stage, sightings: list[dict[str, Any]]) -> None:
        """Make events of what was sighted, and end what no longer is."""
        if sightings:
            about = stage.runner.manifest
            found = [sighting_from_json(item) for item in sightings]
            utc = self._session.utc_of(frame.received_at)
            told = self._machine.observe(about.name, about.version, found, now=frame.at, utc=utc, seq=frame.seq)
            for event in told:
                self.announce(event, frame)
        self._looked_at[stage.name] = frame.at
        self._expire(stage.name, frame.at)

    def announce(self, event: Event, frame: Frame | None = None) -> None:
        """The one place an event is told from, seen in this frame. Until there is a store, events live with their
        session.
        """
        event = self._session.recorder.told(event, frame, self.recent() if frame is not None else {})
        self.events.pop(event.id, None)
        self.events[event.id] = event
        while len(self.events) > self._session.settings.stream.events_kept:
            del self.events[next(iter(self.events))]
        self._tell(event)

    def clip_ready(self, event_ids: Iterable[str]) -> None:
        """The clip of these events can be had: an update says where. It may come after an event's end."""
        for event_id in event_ids:
            if self._session.reason is None and (known := self.events.get(event_id)) is not None:
                self.events[event_id] = event = self._session.recorder.dressed(known)
                self._tell(replace(event, phase="update"))

    def _tell(self, event: Event) -> None:
        log.info("stream %s: event %s %s %s", self._session.id, event.event_type, event.phase, event.id)
        if self._session.audience.listens("events"):
            self._session.audience.send("events", to_text(event.to_wire()))

    def heed(self, runner: Runner) -> None:
        """An event is open while an analyzer of the stream is given up, or has failed after it had run."""
        if runner.state == "disabled" or (runner.state == "failed" and runner.calls):
            self.system_event(runner)
        elif runner.state == "ready":
            self._end(lambda event: event.analyzer == runner.name and event.event_type == FAILED)

    def system_event(self, runner: Runner) -> None:
        """Say once that an analyzer is out of use; it is open until the analyzer works again."""
        data = {"state": runner.state, "reason": runner.reason}
        sighting = Sighting(FAILED, key=runner.name, severity="critical", linger_s=float("inf"), data=data)
        about, now = runner.manifest, self._clock()
        utc = self._session.utc_of(now)
        for event in self._machine.observe(about.name, about.version, [sighting], now=now, utc=utc, seq=None):
            self.announce(event)

    def forget(self, names: Collection[str]) -> None:
        """These analyzers are no longer the stream's: nothing they said holds."""
        for name in names:
            self._overlay.pop(name, None)
            self._looked_at.pop(name, None)
        self._end(lambda event: event.analyzer in names)

    def rest(self) -> None:
        """Nobody will look for a while: nothing can be said to go on."""
        self._overlay.clear()
        self._end(lambda event: event.event_type not in SYSTEM)

    def camera_lost(self, data: Mapping[str, Any]) -> None:
        """The camera that is pulled gives no pictures any more; open until `camera_back`."""
        now = self._clock()
        sighting = Sighting(LOST, label=data["code"], severity="critical", linger_s=float("inf"), data=data)
        for event in self._machine.observe("", "", [sighting], now=now, utc=self._session.utc_of(now), seq=None):
            self.announce(event, self._session.latest)  # its clip shows what was before

    def camera_back(self) -> None:
        """It gives pictures again, or nobody wants them any more."""
        self._end(lambda event: event.event_type == LOST, utc=self._session.utc_of(self._clock()))

    def _end(self, which: Callable[[Event], bool], *, utc: datetime | None = None) -> None:
        for event in self._machine.finish(which, utc=utc):
            self.announce(event)

    def expire(self, now: float) -> None:
        """End what has not been sighted for long enough, `now` on the session's clock."""
        for name in {event.analyzer for event in self._machine.open_events}:
            self._expire(name, self._looked_until(name, now))

    def _expire(self, analyzer: str, at: float) -> None:
        for event in self._machine.expire(at, analyzer=analyzer):
            self.announce(event)

    def _looked_until(self, analyzer: str, now: float) -> float:
        """How far an analyzer's word goes. That a busy one has not looked yet does not mean that there is nothing."""
        session, looked_at = self._session, self._looked_at.get(analyzer, now)
        if session.latest is None or session.latest.at <= looked_at or session.state != "live":
            return now
        return max(looked_at, now - PATIENCE_S)

    def finish(self) -> None:
        """End everything: the session is over."""
        self._end(lambda event: True)
