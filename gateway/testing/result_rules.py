"""Rules about what an analyzer answers: exceptions, json, pictures, determinism, sessions, sizes, gaps, batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, MutableMapping, MutableSequence, MutableSet, Sequence
from typing import Any

import numpy as np

from gateway.analyzer import Analyzer
from gateway.convert import to_result
from gateway.frame import Frame
from gateway.results import Result, result_from_json, result_to_json
from gateway.testing.difference import differences
from gateway.testing.material import CONTENTS, SCENE_NAMES, SIZE_NAMES, Moment, stream
from gateway.testing.rules import RESULT_BYTES
from gateway.testing.subject import Outcome, Refused, Subject, Unjudged, outcome_of

Measured = dict[str, Any]

HALF = len(SCENE_NAMES) // 2
CROWD = 50
SESSIONS = 4  # of one batch
_MUTABLE = (MutableMapping, MutableSequence, MutableSet)


def examine_exceptions(subject: Subject) -> Measured:
    """An ordinary stream, then plain and noisy pictures, alone and in a stream; nobody there, and a crowd."""
    subject.load()
    try:
        analyzer = subject.make()
    except Unjudged as error:
        raise Refused(str(error)) from error
    moments = [*stream(SCENE_NAMES), *(Moment(name, 100 + n, 20.0 + n) for n, name in enumerate(CONTENTS))]
    outcomes = subject.run(analyzer, moments)
    for name in CONTENTS:
        outcomes += subject.run(analyzer, stream([name] * 3), f"{name} pictures")
        moments += stream([name] * 3)
    for moment, outcome in zip(moments, outcomes, strict=False):
        if outcome.kind == "raised":
            raise Refused(
                f"raises {outcome.text} on frame {moment.seq} of the {moment.name.partition('-')[0]} pictures"
            )
    _crowded(subject, analyzer)
    return {"frames": len(outcomes)}


def _crowded(subject: Subject, analyzer: Analyzer) -> None:
    memory = subject.open(analyzer, "crowd")
    for moment, count in zip(stream(SCENE_NAMES[:6]), (0, CROWD, CROWD, 0, 1, CROWD), strict=True):
        frame = subject.material.crowd(subject.material.frame(moment), count)
        outcome = subject.call(analyzer, frame, memory)
        if outcome.kind == "raised":
            raise Refused(f"raises {outcome.text} when its needs saw {count} persons")


def examine_json(subject: Subject) -> Measured:
    """Every result as it would go on the wire, and back."""
    subject.load()
    analyzer = subject.make()
    largest = 0
    for names in (SCENE_NAMES, CONTENTS):
        for outcome in subject.run(analyzer, stream(names), names[0]):
            if outcome.kind == "unclean":
                raise Refused(outcome.text)
            if isinstance(outcome.result, Result):
                largest = max(largest, _wire_size(outcome.result))
    return {"largest_bytes": largest}


def _wire_size(result: Result) -> int:
    for name, value in result.measures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"measure {name} must be a number, got {value!r}; other things go into data")
    wire = result_to_json(result)
    try:
        text = json.dumps(wire, allow_nan=False)
        back = result_to_json(result_from_json(json.loads(text)))
    except (TypeError, ValueError) as error:
        raise Refused(f"the result is no plain JSON: {error}") from error
    if back != wire:
        raise Refused("the result is another one after a way through JSON")
    if len(text) > RESULT_BYTES:
        raise Refused(f"a result of {len(text)} bytes; at most {RESULT_BYTES}")
    return len(text)


def examine_pictures(subject: Subject) -> Measured:
    """Whether the shared pictures are as they were after each call."""
    subject.load()
    analyzer = subject.make()
    memory = subject.open(analyzer)
    for moment in stream(SCENE_NAMES[:12]):
        frame = subject.material.frame(moment)
        shared = {"to_bgr()": frame.to_bgr(), **{f"scaled({side})": frame.scaled(side) for side in (160, 320)}}
        before = {name: picture.copy() for name, picture in shared.items()}
        results = {name: result_to_json(result) for name, result in frame.results.items()}
        outcome = subject.call(analyzer, frame, memory)
        if outcome.kind == "writes":
            raise Refused(f"writes to the shared picture: {outcome.text}")
        _untouched(frame, shared, before)
        if results != {name: result_to_json(result) for name, result in frame.results.items()}:
            raise Refused("changes the results of other analyzers in frame.results")
    return {}


def _untouched(frame: Frame, shared: dict[str, Any], before: dict[str, Any]) -> None:
    for name, picture in shared.items():
        if not np.array_equal(picture, before[name]):
            raise Refused(f"wrote to the shared picture {name} of frame {frame.seq}")
        if picture.flags.writeable:
            raise Refused(f"made the shared picture {name} writeable")


def examine_determinism(subject: Subject) -> Measured:
    """What one process sees; the parent compares two of them."""
    subject.load()
    analyzer = subject.make()
    names = [*SCENE_NAMES, *CONTENTS]
    return {"outcomes": [outcome.comparable for outcome in subject.run(analyzer, stream(names))]}


def compare_processes(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Raises `Refused` naming the first frame on which two processes disagree."""
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one != other:
            raise Refused(f"frame {number} gave another result in another process: {_change(one, other)}")


def _change(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        found = next(differences(result_from_json(one), result_from_json(other)), None)
        return found.text if found else "by less than the tolerance, or in another order"
    return f"{str(one)[:60]} / {str(other)[:60]}"


def examine_sessions(subject: Subject) -> Measured:
    """Two streams one after the other, then the same two frame by frame in turn, with one object."""
    subject.load()
    analyzer = subject.make()
    one = stream(SCENE_NAMES[:HALF])
    other = stream([*reversed(SCENE_NAMES[HALF:])], 0.3)
    alone = {"a": subject.run(analyzer, one, "a"), "b": subject.run(analyzer, other, "b")}
    again = _interleaved(subject, analyzer, one, other)
    for name, outcomes in alone.items():
        for number, (before, after) in enumerate(zip(outcomes, again[name], strict=False)):
            if before.comparable != after.comparable:
                change = _change(before.comparable, after.comparable)
                raise Refused(f"frame {number} of one stream depends on the other stream: {change}")
    return {"frames": 2 * HALF}


def _interleaved(
    subject: Subject, analyzer: Analyzer, one: Sequence[Moment], other: Sequence[Moment]
) -> dict[str, list[Outcome]]:
    memories = {}
    for name in ("a", "b"):
        opened = outcome_of(lambda name=name: subject.open(analyzer, f"{name}2"))  # type: ignore[misc]
        if opened.kind != "result":
            raise Unjudged(f"open() raises {opened.text}")
        memories[name] = opened.result
    if isinstance(memories["a"], _MUTABLE) and memories["a"] is memories["b"]:
        raise Refused("open() gave two streams the same memory")
    seen: dict[str, list[Outcome]] = {"a": [], "b": []}
    for first, second in zip(one, other, strict=True):
        for name, moment in (("a", first), ("b", second)):
            seen[name].append(subject.call(analyzer, subject.material.frame(moment), memories[name]))
    return seen


def examine_sizes(subject: Subject) -> Measured:
    """Each size as a stream of its own, then all of them in one."""
    subject.load()
    analyzer = subject.make()
    _ordinary(subject, analyzer)
    for name in SIZE_NAMES:
        for outcome in subject.run(analyzer, stream([name] * 2), name):
            if outcome.kind != "result":
                raise Refused(f"raises {outcome.text} on a picture of {name.removeprefix('size-')}")
    order = ["scene-00", *SIZE_NAMES, "scene-01"]
    outcomes = subject.run(analyzer, stream(order), "changing size")
    for before, name, outcome in zip(order, order[1:], outcomes[1:], strict=False):
        if outcome.kind != "result":
            change = f"from {before.removeprefix('size-')} to {name.removeprefix('size-')}"
            raise Refused(f"raises {outcome.text} when the size changes {change}")
    return {"sizes": len(SIZE_NAMES)}


def examine_gaps(subject: Subject) -> Measured:
    """Lost frames, silence, equal times."""
    subject.load()
    analyzer = subject.make()
    _ordinary(subject, analyzer)
    clock = (0, 0.1, 0.5, 0.5, 0.5001, 0.9, 3600, 3600.1, 3600.1, 2_592_000, 2_592_000.2, 2_592_000.2)
    numbers = (0, 1, 5, 6, 7, 8, 500, 501, 502, 10**6, 10**6 + 1, 10**9)
    moments = [Moment(*one) for one in zip(SCENE_NAMES, numbers, clock, strict=False)]
    outcomes = subject.run(analyzer, moments, "gaps")
    for before, moment, outcome in zip(moments, moments[1:], outcomes[1:], strict=False):
        if outcome.kind != "result":
            gap = f"{moment.at - before.at:g} s and {moment.seq - before.seq - 1} lost frames"
            raise Refused(f"raises {outcome.text} after {gap}")
    return {"frames": len(moments)}


def _ordinary(subject: Subject, analyzer: Analyzer) -> None:
    """Raises `Unjudged` if ordinary frames fail already: that is another rule's business."""
    for outcome in subject.run(analyzer, stream(SCENE_NAMES[:12]), "ordinary"):
        if outcome.kind != "result":
            raise Unjudged(f"an ordinary picture fails already: {outcome.text}")


def examine_batch(subject: Subject) -> Measured:
    """The same frames of several sessions, one by one and in batches."""
    cls = subject.load()
    if cls.analyze_batch is Analyzer.analyze_batch:
        raise Unjudged("does not define analyze_batch()")
    analyzer = subject.make()
    sizes = ["scene-01", "size-320x240", "scene-07", "size-641x17"]
    rounds = [[Moment(name, seq, seq * 0.2) for name in sizes] for seq in range(3)]
    singles = [subject.open(analyzer, f"single-{n}") for n in range(SESSIONS)]
    together = [subject.open(analyzer, f"batch-{n}") for n in range(SESSIONS)]
    for moments in rounds:
        alone = [
            subject.call(analyzer, subject.material.frame(moment), memory)
            for moment, memory in zip(moments, singles, strict=True)
        ]
        if failed := next((outcome for outcome in alone if outcome.kind != "result"), None):
            raise Unjudged(f"analyze() fails already: {failed.text}")
        batched = _batch(subject, analyzer, [subject.material.frame(moment) for moment in moments], together)
        _same_batch([outcome.result for outcome in alone], batched)
    _batch(subject, analyzer, [subject.material.frame(rounds[0][0])], [subject.open(analyzer, "batch of one")])
    return {"batch": analyzer.batch, "frames": len(rounds) * SESSIONS}


def _batch(subject: Subject, analyzer: Analyzer, frames: list[Frame], memories: list[Any]) -> list[Result]:
    subject.announcer.begin(f"analyze_batch() of {len(frames)} frames")
    outcome = outcome_of(lambda: list(analyzer.analyze_batch(frames, memories)))
    if outcome.kind != "result":
        raise Refused(f"analyze_batch() raises {outcome.text}")
    if len(outcome.result) != len(frames):
        raise Refused(f"analyze_batch() gave {len(outcome.result)} results for {len(frames)} frames")
    return [to_result(value, frame, analyzer.labels) for value, frame in zip(outcome.result, frames, strict=True)]


def _same_batch(alone: Iterable[Result], batched: Iterable[Result]) -> None:
    for number, (one, other) in enumerate(zip(alone, batched, strict=True)):
        if found := next(differences(one, other), None):
            raise Refused(f"frame {number} of a batch is not what analyze() gives: {found.text}")
