"""Rules about time and what a process holds: deadline, threads, memory, close, quiet."""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from math import sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import psutil

from gateway.analyzer import Analyzer
from gateway.testing.material import LARGE_NAMES, SCENE_NAMES, STEP_S, Moment, stream
from gateway.testing.subject import Refused, Subject, one_line

Measured = dict[str, Any]

DEADLINE_FRAMES, DEADLINE_BUDGET_S = 40, 20.0
FIRST_S = 60.0
WARM_FRAMES, WARM_S = 100, 8.0  # caches fill, pools grow
BLOCKS = 20
ROUND = SCENE_NAMES[::4]  # the pictures that come again and again
T_95 = 2.093  # Student's t, two-sided 95 %, for the 19 degrees of freedom of 20 blocks
LEAK_KB = 0.25  # a frame; what is surely below this is no leak
WANTED_KB = 1.0  # a frame; a leak of this size must be found
CYCLES = 4
CYCLE_KB = 1024.0  # what a load and a close may leave behind, and be called noise
ENDING_S = 3.0  # threads may take a moment to end


def examine_deadline(subject: Subject, task: Mapping[str, Any]) -> Measured:
    """The time of each call at 1280x720 and 640x360."""
    subject.load()
    analyzer = subject.make()
    memory = subject.open(analyzer)
    names = [*LARGE_NAMES * 3, *SCENE_NAMES][:DEADLINE_FRAMES]
    took: list[float] = []
    began = time.perf_counter()
    for moment in stream(names):
        frame = subject.material.frame(moment)
        start = time.perf_counter()
        subject.call(analyzer, frame, memory)
        took.append(time.perf_counter() - start)
        if time.perf_counter() - began > DEADLINE_BUDGET_S:
            break
    first, rest = took[0], took[1:] or took
    worst = max(rest)
    measured = {
        "first_ms": round(first * 1e3, 1),
        "p50_ms": round(median(rest) * 1e3, 2),
        "max_ms": round(worst * 1e3, 2),
    }
    if worst > task["deadline_s"]:
        raise Refused(f"frame {rest.index(worst) + 1} took {worst:.2f} s; the deadline is {task['deadline_s']:g} s")
    return measured


def examine_threads(subject: Subject) -> Measured:
    """Threads of the process after 20 frames and after 60 more."""
    subject.load()
    analyzer = subject.make()
    memory = subject.open(analyzer)
    numbers = count()
    _feed(subject, analyzer, memory, numbers, 20)
    before = _threads()
    _feed(subject, analyzer, memory, numbers, 60)
    if not _settles(lambda: _threads() - before <= 4):
        raise Refused(f"{before} threads after 20 frames, {_threads()} after 80")
    return {"threads": _threads()}


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth in KB a frame: `mean` and half of its 95 % confidence interval, over `frames` frames."""

    mean: float
    half: float
    frames: int

    @property
    def leaks(self) -> bool:
        return self.mean - self.half > LEAK_KB

    @property
    def detectable(self) -> float:
        """The least leak that would have been found for sure, in KB a frame."""
        return LEAK_KB + 2 * self.half


def slope_of(levels: list[int], per_block: int) -> Slope:
    """From the memory (bytes) before the first of equal blocks of frames and after each.

    Blocks are compared with each other, so that one late allocation, which makes one block large and the interval wide,
    is no leak.
    """
    growth = [(after - before) / 1024 / per_block for before, after in pairwise(levels)]
    return Slope(fmean(growth), T_95 * stdev(growth) / sqrt(len(growth)), per_block * len(growth))


def examine_memory(subject: Subject, task: Mapping[str, Any]) -> Measured:
    """The slope of this process's own memory over many frames of one session."""
    subject.load()
    analyzer = subject.make()
    memory = subject.open(analyzer)
    numbers, began = count(), time.perf_counter()
    warm = 0
    while warm < WARM_FRAMES and (not warm or time.perf_counter() - began < WARM_S):
        _feed(subject, analyzer, memory, numbers, len(ROUND))
        warm += len(ROUND)
    pace = (time.perf_counter() - began) / warm
    frames = min(task["frames"], int(task["memory_s"] / pace))
    per_block = max(1, frames // BLOCKS // len(ROUND)) * len(ROUND)
    slope = _measure(lambda frames: _feed(subject, analyzer, memory, numbers, frames), per_block)
    if slope.half > WANTED_KB / 3 or (slope.leaks and slope.mean < WANTED_KB):  # in doubt: once more, settled by now
        slope = _measure(lambda frames: _feed(subject, analyzer, memory, numbers, frames), per_block)
    if slope.leaks:
        raise Refused(f"grows by {slope.mean:.2f} ± {slope.half:.2f} KB a frame over {slope.frames} frames")
    return {
        "kb_per_frame": round(slope.mean, 3),
        "half_95": round(slope.half, 3),
        "frames": slope.frames,
        "detectable_kb": round(slope.detectable, 2),
    }


def _measure(feed: Callable[[int], None], per_block: int) -> Slope:
    """A block's level is its lowest: what one call takes and gives back is not what is kept."""
    levels = []
    for _ in range(BLOCKS + 1):
        readings = []
        for _ in range(per_block // len(ROUND)):
            feed(len(ROUND))
            readings.append(_own_memory())
        levels.append(min(readings))
    return slope_of(levels, per_block)


def _own_memory() -> int:
    """Bytes this process alone has written to; exact, where the kernel's RSS counter is some hundred KB off.

    Pages of libraries are left out: they count as ours or as shared as other processes come and go.
    """
    gc.collect()
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text()
        return sum(int(size) for size in re.findall(r"^(?:Anonymous|Swap): +([0-9]+) kB", rollup, re.MULTILINE)) * 1024
    except OSError:
        return int(psutil.Process().memory_full_info().uss)


def examine_close(subject: Subject) -> Measured:
    """Load, look at some frames, close; several times, the first two for what libraries keep for good."""
    subject.load()
    for _ in range(2):
        _cycle(subject)
    threads, files, levels = _threads(), _files(), [_own_memory()]
    for _ in range(CYCLES):
        _cycle(subject)
        levels.append(_own_memory())
    if not _settles(lambda: _threads() - threads < CYCLES):
        raise Refused(f"leaves threads behind: {threads} after 2 loads and closes, {_threads()} after {2 + CYCLES}")
    if (left := _files() - files) >= CYCLES:
        raise Refused(f"leaves files or sockets open: {left} more after {CYCLES} loads and closes")
    grown = min(after - before for before, after in pairwise(levels)) / 1024
    if grown > CYCLE_KB:
        raise Refused(f"keeps {grown / 1024:.1f} MB with each load and close")
    return {"kb_per_cycle": round(grown, 1)}


def _cycle(subject: Subject) -> None:
    before = set(threading.enumerate())
    analyzer = subject.make()
    subject.run(analyzer, stream(SCENE_NAMES[:4]))
    for what in ("close()", "a second close()"):
        subject.announcer.begin(what)
        try:
            analyzer.close()
        except Exception as error:
            raise Refused(f"{what} raises {one_line(error)}") from error
    if not _settles(lambda: not _alive(before)):
        raise Refused(f"thread {_alive(before)[0].name} still runs after close()")
    del analyzer
    gc.collect()


def _alive(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before]


def examine_quiet(subject: Subject) -> Measured:
    """What is printed while frames are looked at, natively or not."""
    subject.load()
    analyzer = subject.make()
    with _captured() as printed:
        subject.run(analyzer, stream(SCENE_NAMES))
    if printed:
        first = printed[0].strip().partition("\n")[0][:80]
        raise Refused(f"prints {len(printed[0])} bytes in {len(SCENE_NAMES)} frames: {first}")
    return {}


@contextmanager
def _captured() -> Iterator[list[str]]:
    """What goes to standard output meanwhile; empty if nothing does."""
    found: list[str] = []
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield found
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        if text := file.read().decode(errors="replace"):
            found.append(text)


def _feed(subject: Subject, analyzer: Analyzer, memory: Any, numbers: Iterator[int], frames: int) -> None:
    """Go on with an endless stream of the same pictures; each block of frames ends with the same one."""
    for _ in range(frames):
        seq = next(numbers)
        moment = Moment(ROUND[seq % len(ROUND)], seq, round(seq * STEP_S, 6))
        subject.call(analyzer, subject.material.frame(moment), memory)


def _settles(condition: Callable[[], bool]) -> bool:
    """Whether it becomes so within a moment."""
    until = time.monotonic() + ENDING_S
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _threads() -> int:
    return int(psutil.Process().num_threads())


def _files() -> int:
    process = psutil.Process()
    return int(process.num_fds() if hasattr(process, "num_fds") else len(process.open_files()))
