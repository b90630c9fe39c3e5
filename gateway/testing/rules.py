"""The rules of the conformance check: what each asks of an analyzer, and what to do when it is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["holds", "refused", "warning", "unjudged"]

DEADLINE_S = 2.0  # a call; `deadline_s` of the settings may be another
IMPORT_S = 1.0
RESULT_BYTES = 256 * 2**10  # of one result as JSON
HEAVY = (
    *("torch", "torchvision", "onnxruntime", "tensorflow", "keras", "jax", "ultralytics", "transformers", "openvino"),
    *("tensorrt", "mediapipe", "insightface", "paddle", "timm", "sklearn", "faster_whisper", "supervision", "pycuda"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`after` are rules without which this one says nothing."""

    id: str
    asks: str
    mend: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one rule. `reason` is one line; `measured` are the figures behind it."""

    rule: str
    state: State
    reason: str = ""
    measured: dict[str, Any] = field(default_factory=dict)


DENIED = "a worker has no network and no files but its own unless `permissions` asks for more: docs/plugin-safety.md"

RULES = (
    Rule(
        "import",
        f"imports within {IMPORT_S:g} s, no model runtime, no socket, no thread",
        "import runtimes and open things in __init__(), not at the top of the module",
    ),
    Rule(
        "contract",
        "the class is as the contract says; what it reports is declared",
        "declare labels and event_types; name event types of your own plugin.type",
    ),
    Rule(
        "options",
        "every option has a default that its own type accepts; unknown ones are refused",
        "correct the default or the annotation in Options",
    ),
    Rule(
        "exceptions",
        "raises on no ordinary picture, black, white and noise included",
        "handle the case, or return Result() for it: each exception costs its frame",
    ),
    Rule(
        "json",
        f"results are finite, in range, plain JSON, under {RESULT_BYTES // 2**10} KiB",
        "check for empty arrays before mean(); make boxes with Box.clipped() or Box.from_pixels()",
    ),
    Rule(
        "pictures",
        "never writes to the shared picture or to the results of others",
        "copy before you draw: frame.to_bgr().copy()",
    ),
    Rule(
        "determinism",
        "the same pictures give the same results in another process",
        "seed what is random, sort what comes out of a set, use frame.at for time",
    ),
    Rule(
        "sessions",
        "two streams at once give what each gives alone",
        "keep what belongs to a stream in memory, not on self, the class or the module",
        after=("determinism",),
    ),
    Rule(
        "sizes",
        "takes 1x1 to 7680x4320, grey, progressive, and a change of size in mid-stream",
        "never assume a size: read frame.width and frame.height of each frame",
    ),
    Rule(
        "gaps",
        "takes lost frames, hours of silence and two frames at one time",
        "measure time with frame.at, and expect a difference of 0",
    ),
    Rule(
        "deadline",
        "every call after the first is under the deadline",
        "look at a smaller picture (frame.scaled(side)), or do less per frame",
    ),
    Rule(
        "batch",
        "analyze_batch() gives what analyze() gives, in order",
        "return one result per frame, in the order of the frames, each with its own memory",
        after=("determinism",),
    ),
    Rule(
        "threads",
        "leaves no thread behind with each frame",
        "start threads in __init__() if at all, end them in close()",
    ),
    Rule(
        "memory",
        "does not grow with the frames",
        "bound what is kept: deque(maxlen=...); and drop what is older than you look back",
        after=("threads",),
    ),
    Rule(
        "close",
        "close() ends threads, closes files, releases memory, and may be called twice",
        "end in close() what __init__() began, and remember that it has been done",
    ),
    Rule(
        "quiet",
        "prints nothing per frame",
        "use logging: the gateway's log has it then, with its level and source",
    ),
)
BY_ID = {rule.id: rule for rule in RULES}


def mend(verdict: Verdict) -> str:
    """What to do about a verdict."""
    return DENIED if "PermissionError" in verdict.reason else BY_ID[verdict.rule].mend
