"""Anomaly: what should not happen before a camera, by rules over tracks and pictures: falls, runs, crowds, tampering.

No weights of its own and nothing learned: each rule says in its module what it looks for and why its numbers are what
they are. Areas with rules of their own (nobody may be here, nobody may stay here) are for `zones`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from analyzers._bodies import Sight
from analyzers._crowd import Surge
from analyzers._cuts import Scene
from analyzers._hours import Hours
from analyzers._posture import Fallen, Falls, View
from analyzers._scenery import SIDE, Scenery
from analyzers._speed import Speeds
from analyzers._stays import Stays
from analyzers._tamper import Tamper, Tampered
from gateway import Analyzer, Detection, Frame, Result, SessionInfo, Sighting, hookimpl

MOVING = 0.3  # own heights a second; who stands and shifts his weight makes less


@dataclass(frozen=True)
class AnomalyOptions:
    fall: bool = True  # somebody goes down quickly and stays down
    lying_s: float = 1.5  # s for which he must lie
    running: bool = True  # somebody runs
    running_speed: float = 1.8  # own heights a second; 1.3 is the fastest walk, seen from 45 degrees above 1.8
    running_s: float = 1.0  # s for which he must
    crowd: bool = True  # many more people than usual, within seconds
    crowd_least: int = 6  # persons; fewer are no crowd
    loiter_s: float = 0.0  # s that somebody may stay about one place; 0: as long as he likes (for areas: `zones`)
    loiter_heights: float = 2.0  # own heights: within so far of where he was is the same place
    closed: str = ""  # hours in which anybody seen is an intrusion, such as 22:00-06:00, in the server's time zone
    intrusion_s: float = 1.0  # s for which he must be seen then
    tampering: bool = True  # the camera is covered, moved, blurred, or it is dark
    tamper_s: float = 3.0  # s for which that must last
    frozen_s: float = 0.0  # s for which the very same picture may come; 0: for ever (stills are sent on purpose)
    linger_s: float = 2.0  # s after which an event ends whose condition holds no longer

    def __post_init__(self) -> None:
        for name in ("lying_s", "running_s", "running_speed", "loiter_heights"):
            if not 0 < getattr(self, name) <= 3600:
                raise ValueError(f"{name} must be above 0 and up to 3600, got {getattr(self, name)}")
        for name in ("loiter_s", "intrusion_s", "tamper_s", "frozen_s", "linger_s"):
            if not 0 <= getattr(self, name) <= 86400:
                raise ValueError(f"{name} must be 0-86400 s, got {getattr(self, name)}")
        if not 2 <= self.crowd_least <= 1000:
            raise ValueError(f"crowd_least must be 2-1000, got {self.crowd_least}")
        Hours.read(self.closed)


@dataclass(slots=True)
class _Memory:
    options: AnomalyOptions
    hours: Hours
    falls: Falls
    speeds: Speeds
    surge: Surge
    stays: Stays
    tamper: Tamper
    scene: Scene = field(default_factory=Scene)
    scenery: Scenery = field(default_factory=Scenery)
    wrong: Tampered | None = None  # as of the last look
    seen_since: dict[int, float] = field(default_factory=dict)  # in closed hours

    def cut(self) -> None:
        """Another scene: nobody in it is somebody from before. What tampering is, `tamper` sees for itself."""
        for part in (self.falls, self.speeds, self.surge, self.stays, self.scenery):
            part.cut()


class AnomalyAnalyzer(Analyzer):
    """Events for falls, runs, surges, loitering, people after hours and tampering; counts as measures."""

    name = "anomaly"
    title = "Anomalies"
    needs = ("tracks",)
    labels = ("fallen", "running")
    event_types = ("fall", "running", "crowd", "loitering", "intrusion", "camera_tampered")
    side = SIDE
    Options = AnomalyOptions
    options: AnomalyOptions

    def open(self, session: SessionInfo) -> _Memory:
        options: AnomalyOptions = session.options
        return _Memory(
            options,
            Hours.read(options.closed),
            Falls(options.lying_s),
            Speeds(options.running_s),
            Surge(options.crowd_least),
            Stays(options.loiter_s, options.loiter_heights),
            Tamper(options.tamper_s, options.frozen_s),
        )

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        """What is known of the scene and of who is down stays."""
        fresh = self.open(session)
        fresh.scene, fresh.scenery, fresh.seen_since = memory.scene, memory.scenery, memory.seen_since
        fresh.falls, fresh.falls.lying_s = memory.falls, session.options.lying_s
        fresh.tamper, fresh.tamper.hold_s = memory.tamper, session.options.tamper_s
        fresh.tamper.frozen_s = session.options.frozen_s
        return fresh

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        options = memory.options
        sight = Sight.of(frame.results["tracks"], frame.at, frame.width / frame.height)
        looked = _look(frame, sight, memory)
        view = View(frame.at, sight.aspect, sight.people, sight.ages, sight.loose, memory.scenery, looked)
        fallen = memory.falls.step(view) if options.fall else []
        walkers = {number: body for number, body in sight.sure.items() if number not in sight.riders}
        speeds = memory.speeds.step(walkers, frame.at, sight.aspect) if options.running else {}
        fast = {number: speed for number, speed in speeds.items() if speed >= options.running_speed}
        sightings = (
            *(_fall(one, sight, options) for one in fallen),
            *(_running(number, speed, sight, options) for number, speed in fast.items()),
            *_crowd(frame, sight, memory),
            *_loitering(frame, sight, memory),
            *_after_hours(frame, sight, memory),
            *_tampering(memory),
        )
        measures = {
            "persons": len(sight.sure),
            "moving": sum(speed >= MOVING for speed in speeds.values()),
            "fallen": len(fallen),
            "running": len(fast),
            "tampered": int(memory.wrong is not None),
        }
        return Result(_detections(fallen, fast, sight), measures, sightings)


def _look(frame: Frame, sight: Sight, memory: _Memory) -> bool:
    """Look at the pixels if it is time; whether this was done. People of another scene are forgotten."""
    options = memory.options
    if not (options.fall or options.tampering or options.frozen_s) or not memory.scenery.due(frame.at):
        return False
    if memory.scene.changed(frame):
        memory.cut()
    picture = frame.scaled(SIDE)
    lying = [body.box(sight.aspect) for body in memory.falls.places()]
    memory.scenery.look(picture, frame.at, [*sight.boxes.values(), *sight.hidden.values(), *lying])
    memory.wrong = memory.tamper.step(picture, frame.at)
    return True


# --- telling ---------------------------------------------------------------------------------------------------------


def _detections(fallen: list[Fallen], fast: Mapping[int, float], sight: Sight) -> tuple[Detection, ...]:
    down = [
        Detection("fallen", _sureness(one), one.body.box(sight.aspect), one.person, {"lying_s": round(one.lying_s, 1)})
        for one in fallen
    ]
    runs = [
        Detection("running", sight.people[number].score, sight.boxes[number], number, {"speed": round(speed, 2)})
        for number, speed in fast.items()
    ]
    return (*down, *runs)


def _sureness(fallen: Fallen) -> float:
    """0.5 for a drop that just counts, 1 for one of a whole height."""
    return min(1.0, max(0.5, fallen.drop))


def _fall(one: Fallen, sight: Sight, options: AnomalyOptions) -> Sighting:
    return Sighting(
        "fall",
        key=str(one.person),
        score=_sureness(one),
        label="fallen",
        box=one.body.box(sight.aspect),
        severity="critical",
        linger_s=options.linger_s,
        person_id=f"person-{one.person}",
        data={
            "fell_at": round(one.fell_at, 2),
            "lying_s": round(one.lying_s, 1),
            "drop": round(one.drop, 2),
            "speed": round(one.speed, 2),
        },
    )


def _running(number: int, speed: float, sight: Sight, options: AnomalyOptions) -> Sighting:
    return _of_person("running", number, sight, options, {"speed": round(speed, 2)})


def _crowd(frame: Frame, sight: Sight, memory: _Memory) -> Iterator[Sighting]:
    options = memory.options
    if options.crowd and (surge := memory.surge.step(frame.at, len(sight.sure))) is not None:
        count, level = surge
        data = {"kind": "surge", "count": count, "usual": level}
        yield Sighting("crowd", key="surge", severity="warning", linger_s=options.linger_s, data=data)


def _loitering(frame: Frame, sight: Sight, memory: _Memory) -> Iterator[Sighting]:
    for number, stayed in memory.stays.step(sight.people, sight.hidden, frame.at).items():
        yield _of_person("loitering", number, sight, memory.options, {"dwell_s": round(stayed, 1)})


def _after_hours(frame: Frame, sight: Sight, memory: _Memory) -> Iterator[Sighting]:
    """Whoever is seen in closed hours. The moment is that of the picture, where its sender tells it."""
    closed = bool(memory.hours.spans) and memory.hours.hold(frame.captured_at or datetime.now(UTC))
    there = sight.sure if closed else {}
    known = {**sight.people, **sight.hidden}
    memory.seen_since = {number: since for number, since in memory.seen_since.items() if closed and number in known}
    for number in there:
        since = memory.seen_since.setdefault(number, frame.at)
        if frame.at - since >= memory.options.intrusion_s:
            data = {"kind": "closed", "closed": memory.options.closed}
            yield _of_person("intrusion", number, sight, memory.options, data, severity="critical")


def _of_person(
    kind: str,
    number: int,
    sight: Sight,
    options: AnomalyOptions,
    data: Mapping[str, object],
    severity: Literal["warning", "critical"] = "warning",
) -> Sighting:
    return Sighting(
        kind,
        key=str(number),
        score=sight.people[number].score,
        label="person",
        box=sight.boxes[number],
        severity=severity,
        linger_s=options.linger_s,
        person_id=f"person-{number}",
        data=data,
    )


def _tampering(memory: _Memory) -> Iterator[Sighting]:
    wrong, options = memory.wrong, memory.options
    if wrong is None or not (options.tampering or wrong.kind == "frozen"):
        return
    data: dict[str, Any] = {"kind": wrong.kind, "since": round(wrong.since, 2), "same": round(wrong.same, 2)}
    if wrong.shift is not None:
        data["shift"] = list(wrong.shift)
    yield Sighting(
        "camera_tampered",
        key=wrong.kind,
        label=wrong.kind,
        severity="warning" if wrong.kind in ("dark", "frozen") else "critical",
        linger_s=options.linger_s,
        data=data,
    )


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [AnomalyAnalyzer]
