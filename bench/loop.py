"""The plain loop that analyzers are measured against: decode, letterbox, network, suppression, in one process.

Rectangular input, the runtime's defaults but for the number of threads and how they wait: spinning threads are a little
faster alone and much slower beside anybody else, so who compares should take the better of the two.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.child import child

SIDE, STRIDE = 640, 32
CONFIDENCE, IOU = 0.25, 0.5
STEPS = ("decode", "letterbox", "network", "suppression")


@dataclass(frozen=True, slots=True)
class Rules:
    """How many threads the runtime has, whether they spin while they wait, and how many pictures it gets at once."""

    threads: int
    spinning: bool
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What the loop did in a while: frames, seconds it took, CPU seconds, detections, seconds per step of its work."""

    frames: int
    took: float
    cpu: float
    detections: int
    steps: dict[str, float]

    @property
    def rate(self) -> float:
        return self.frames / self.took


class PlainLoop:
    """The loop's process, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def run(self, seconds: float) -> Run:
        self._pipe.send(seconds)
        run: Run = self._pipe.recv()
        return run


@contextmanager
def plain_loop(model: Path, pictures: Sequence[bytes], rules: Rules) -> Iterator[PlainLoop]:
    """A process with the model loaded and run once, idle between runs."""
    with child(_serve, model, pictures, rules) as pipe:
        loop = PlainLoop(pipe)
        loop.run(0.0)
        yield loop


def _serve(pipe: Connection, model: Path, pictures: Sequence[bytes], rules: Rules) -> None:
    """Run for as many seconds as the pipe says, at least one frame; answer; wait for the next number."""
    session, turn = _session(model, rules), itertools.cycle(pictures)
    while True:
        seconds = pipe.recv()
        steps = dict.fromkeys(STEPS, 0.0)
        frames, detections, started, used = 0, 0, time.perf_counter(), time.process_time()
        while frames == 0 or time.perf_counter() - started < seconds:
            detections += _look(session, [next(turn) for _ in range(rules.batch)], steps)
            frames += rules.batch
        took, cpu = time.perf_counter() - started, time.process_time() - used
        pipe.send(Run(frames, took, cpu, detections, steps))


def _session(model: Path, rules: Rules) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = rules.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(rules.spinning)))
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _look(session: Any, jpegs: Sequence[bytes], steps: dict[str, float]) -> int:
    """How much is in pictures of one size; the time of each step is added to `steps`."""
    times = [time.perf_counter()]
    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
    times.append(time.perf_counter())
    tensors = [_letterboxed(picture) for picture in pictures if picture is not None]
    tensor = np.concatenate(tensors) if len(tensors) > 1 else tensors[0]
    times.append(time.perf_counter())
    (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
    times.append(time.perf_counter())
    found = sum(map(_detections, output))
    times.append(time.perf_counter())
    for step, (begin, end) in zip(STEPS, itertools.pairwise(times), strict=True):
        steps[step] += end - begin
    return found


def _letterboxed(picture: cv2.typing.MatLike) -> npt.NDArray[np.float32]:
    """The picture with its longer side `SIDE` px on grey, padded to the stride, RGB 0-1, (1, 3, h, w)."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = round(width * scale), round(height * scale)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    right, below = -size[0] % STRIDE, -size[1] % STRIDE
    if right or below:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    planes = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))
    return np.multiply(planes, np.float32(1 / 255), dtype=np.float32)[None]


def _detections(output: npt.NDArray[np.float32]) -> int:
    """How many boxes stay of a raw YOLOv8 output (4 + classes, anchors)."""
    scores = output[4:].max(axis=0)
    near = scores > CONFIDENCE
    classes = output[4:, near].argmax(axis=0)
    centre, size = output[:2, near].T, output[2:4, near].T
    boxes: Any = np.hstack([centre - size / 2, size]).astype(np.float64)  # OpenCV's stubs know lists only
    return len(cv2.dnn.NMSBoxesBatched(boxes, scores[near], classes, CONFIDENCE, IOU))
