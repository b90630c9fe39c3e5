"""Caption: has a vision model say in words what is happening, when another analyzer has raised something.

It sends pictures to somebody else, so it is optional, off, confined without a network until the operator grants that,
and asks only where the operator said. It is asked rarely (`_caption_budget`) and never waited for: a request runs on a
thread of its own (`_caption_endpoint`), and what came of it is told with a later frame of that stream.
"""

from __future__ import annotations

import logging
import os
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzers._caption_budget import Budget
from analyzers._caption_endpoint import Call, Endpoint, Reply, Trouble, check_url, find_endpoint, question
from gateway import Analyzer, Box, Frame, Result, SessionInfo, Sighting, hookimpl

if TYPE_CHECKING:
    from analyzers._letterbox import Pixels

log = logging.getLogger(__name__)

AT_ONCE = 2  # requests under way, of all streams; one of each
TRIES = 3  # for one thing raised
NEW_AFTER_S = 10.0  # what was not sighted for so long is raised anew
QUALITY = 80  # of the JPEG that is sent
BLOCKS = 6  # a blurred face is so many squares wide
MARGIN = 0.25  # of a face on each side is blurred with it
SEVERITIES = ("critical", "warning", "info")  # who is asked about first

PROMPT = (
    "This is one picture of a surveillance camera. Say in at most two sentences what is happening, as a witness would:"
    " who is there, what they do, what may need attention. Say only what can be seen; do not name or identify anybody."
)


@dataclass(frozen=True)
class CaptionOptions:
    endpoint: str = ""  # base URL of an OpenAI-compatible API, https://HOST/v1; empty: Groq's, if there is its key
    model: str = ""  # that endpoint's name of a model that sees pictures
    prompt: str = PROMPT  # what the model is asked
    triggers: tuple[str, ...] = ()  # analyzers or event types that it is asked about; empty: all but motion
    per_minute: int = 6  # requests, all streams together
    per_day: int = 500  # requests, all streams together, since this worker's start
    max_tokens: int = 150  # of an answer
    timeout_s: float = 20.0  # s for a request, from name to last byte
    side: int = 768  # px; the longer side of the picture that is sent
    blur_faces: bool = False  # pixelate what `faces` found; without that analyzer nothing is sent
    hold_s: float = 10.0  # s for which a description is told, and its event is open

    def __post_init__(self) -> None:
        if self.endpoint:
            check_url(self.endpoint)
        if not 1 <= len(self.prompt) <= 4000:
            raise ValueError(f"prompt must be 1-4000 characters, got {len(self.prompt)}")
        for name, least, most in (("per_minute", 0, 600), ("per_day", 0, 100_000), ("max_tokens", 1, 4096)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least}-{most}, got {getattr(self, name)}")
        if not 64 <= self.side <= 4096:
            raise ValueError(f"side must be 64-4096 px, got {self.side}")
        for name, least_s in (("timeout_s", 0.1), ("hold_s", 0.0)):
            if not least_s <= getattr(self, name) <= 600:
                raise ValueError(f"{name} must be {least_s:g}-600 s, got {getattr(self, name)}")


class Topic(NamedTuple):
    """What was raised: an event, as its sightings name it."""

    analyzer: str
    event_type: str
    key: str


@dataclass(slots=True)
class _Raised:
    """A topic that is there now: its latest sighting, and how often it was asked about."""

    sighting: Sighting
    seen_at: float
    tries: int = 0
    told: bool = False


@dataclass(slots=True)
class _Asked:
    """A request under way for a stream."""

    call: Call
    topic: Topic
    sighting: Sighting
    seq: int


@dataclass(frozen=True, slots=True)
class _Told:
    """A description, from the frame it arrived with on."""

    reply: Reply
    asked: _Asked
    since: float


@dataclass(slots=True)
class _Memory:
    options: CaptionOptions
    raised: dict[Topic, _Raised] = field(default_factory=dict)
    asked: _Asked | None = None
    told: _Told | None = None
    why_not: str = ""
    captions: int = 0
    tokens: int = 0

    def notice(self, frame: Frame) -> None:
        """What the others sight in this frame; what they have not for long is over."""
        for topic, sighting in _sightings(frame.results, self.options.triggers):
            known = self.raised.get(topic)
            if known is None or frame.at - known.seen_at > NEW_AFTER_S:
                self.raised[topic] = _Raised(sighting, frame.at)
            else:
                known.sighting, known.seen_at = sighting, frame.at
        for topic in [topic for topic, known in self.raised.items() if frame.at - known.seen_at > NEW_AFTER_S]:
            del self.raised[topic]

    def due(self, now: float) -> Topic | None:
        """What is to be asked about with the frame of this moment: the gravest of what is in it."""
        waiting = [
            (SEVERITIES.index(known.sighting.severity), topic)
            for topic, known in self.raised.items()
            if known.seen_at == now and not known.told and known.tries < TRIES
        ]
        return min(waiting)[1] if waiting else None


class CaptionAnalyzer(Analyzer):
    """Descriptions in words, each one event; what it cost so far."""

    name = "caption"
    title = "Caption"
    wants = ("smoking", "bags", "faces", "anomaly", "zones", "scene", "tracks", "objects", "motion")
    event_types = ("caption.described",)
    permissions = ("network",)
    Options = CaptionOptions
    load_options = (
        *("endpoint", "model", "prompt", "per_minute", "per_day", "max_tokens"),
        *("timeout_s", "side", "blur_faces"),
    )
    options: CaptionOptions

    def __init__(self, options: CaptionOptions) -> None:
        super().__init__(options)
        endpoint = find_endpoint(options.endpoint, options.model, os.environ)
        if isinstance(endpoint, str):
            raise ValueError(endpoint)  # noqa: TRY004 - an operator's omission, not a wrong type
        self._endpoint: Endpoint = endpoint
        self._budget = Budget(options.per_minute, options.per_day)
        self._calls: list[Call] = []
        self.side = options.side
        self.device = endpoint.host  # told where analyzers are listed: who gets the pictures
        log.info("pictures go to %s, model %s", endpoint.host, endpoint.model)

    @classmethod
    def missing(cls, options: CaptionOptions) -> str | None:
        found = find_endpoint(options.endpoint, options.model, os.environ)
        return found if isinstance(found, str) else None

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options)

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        memory.options = session.options
        return memory

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        self._settle()
        self._take(frame, memory)
        memory.notice(frame)
        topic = memory.due(frame.at)
        if not memory.raised:
            memory.why_not = ""
        if topic is not None and memory.asked is None:
            memory.why_not = self._refusal(frame) or ""
            if not memory.why_not:
                self._ask(frame, topic, memory)
        return _result(frame.at, memory)

    def close(self) -> None:
        for call in self._calls:
            call.close()

    # --- requests ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Count what came of requests, those of streams that have ended too."""
        for call in [call for call in self._calls if call.done]:
            self._calls.remove(call)
            if isinstance(call.outcome, Reply):
                self._budget.answered()
            else:
                trouble = call.outcome or Trouble("the request broke off")
                log.warning("%s: %s", self._endpoint.host, trouble.reason)
                self._budget.refused(time.monotonic(), trouble.retry_s, lasting=trouble.lasting)

    def _take(self, frame: Frame, memory: _Memory) -> None:
        """The answer to this stream's request, if it is there."""
        asked = memory.asked
        if asked is None or not asked.call.done:
            return
        memory.asked = None
        outcome = asked.call.outcome
        if isinstance(outcome, Reply):
            memory.told = _Told(outcome, asked, frame.at)
            memory.captions += 1
            memory.tokens += outcome.tokens
            if known := memory.raised.get(asked.topic):
                known.told = True
        elif outcome is not None:
            memory.why_not = outcome.reason

    def _refusal(self, frame: Frame) -> str | None:
        if self.options.blur_faces and "faces" not in frame.results:
            return "faces are to be blurred, and the analyzer faces did not look at this frame"
        if len(self._calls) >= AT_ONCE:
            return "other streams are being asked about"
        return self._budget.refusal(time.monotonic())

    def _ask(self, frame: Frame, topic: Topic, memory: _Memory) -> None:
        known = memory.raised[topic]
        known.tries += 1
        # The type alone: a label or key may say who somebody is.
        prompt = f"{self.options.prompt} The analyzer {topic.analyzer} reported: {topic.event_type}."
        body = question(self._endpoint.model, prompt, self._picture(frame), self.options.max_tokens)
        self._budget.spend(time.monotonic())
        call = Call(self._endpoint, body, self.options.timeout_s)
        self._calls.append(call)
        memory.asked = _Asked(call, topic, known.sighting, frame.seq)

    def _picture(self, frame: Frame) -> str:
        """What is sent, as JPEG in base64: encoded anew, so nothing else that was in the file goes along."""
        import cv2

        picture = frame.scaled(self.options.side)
        if self.options.blur_faces:
            picture = blurred(picture, [one.box for one in frame.results["faces"].detections])
        return b64encode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()).decode()


def _sightings(results: Mapping[str, Result], triggers: tuple[str, ...]) -> Iterator[tuple[Topic, Sighting]]:
    for analyzer, result in results.items():
        for sighting in result.sightings:
            wanted = {analyzer, sighting.event_type} & set(triggers) if triggers else analyzer != "motion"
            if wanted:
                yield Topic(analyzer, sighting.event_type, sighting.key), sighting


def blurred(picture: Pixels, boxes: list[Box]) -> Pixels:
    """A copy in which these regions, and a margin around each, are a few squares of one colour."""
    import cv2

    copy = picture.copy()
    height, width = copy.shape[:2]
    for box in boxes:
        aside, above = MARGIN * box.width, MARGIN * box.height
        grown = Box.clipped(box.x1 - aside, box.y1 - above, box.x2 + aside, box.y2 + above)
        x1, y1, x2, y2 = grown.to_pixels(width, height)
        if x2 > x1 and y2 > y1:
            small = cv2.resize(copy[y1:y2, x1:x2], (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
            copy[y1:y2, x1:x2] = cv2.resize(small, (x2 - x1, y2 - y1), interpolation=cv2.INTER_NEAREST)
    return copy


def _result(now: float, memory: _Memory) -> Result:
    """The latest description for as long as it is told, and what is going on."""
    told = memory.told if memory.told is not None and now - memory.told.since <= memory.options.hold_s else None
    state = "asking" if memory.asked else "waiting" if memory.why_not else "idle"
    data: dict[str, Any] = {"state": state}
    if memory.why_not:
        data["reason"] = memory.why_not
    if told is not None:
        data["caption"] = _about(told)
    measures = {"captions": memory.captions, "tokens": memory.tokens}
    return Result(measures=measures, data=data, sightings=(_sighting(told),) if told is not None else ())


def _about(told: _Told) -> dict[str, Any]:
    """What is told of a description. `text` is what a model wrote: text, never markup, and nobody's order."""
    topic = told.asked.topic
    return {
        "text": told.reply.text,
        "model": told.reply.model,
        "latency_ms": round(told.reply.latency_ms),
        "tokens": told.reply.tokens,
        "seq": told.asked.seq,
        "about": {"analyzer": topic.analyzer, "event_type": topic.event_type, "key": topic.key},
    }


def _sighting(told: _Told) -> Sighting:
    raised = told.asked.sighting
    return Sighting(
        "caption.described",
        key=str(told.asked.seq),
        label=raised.label or raised.event_type,
        box=raised.box,
        linger_s=1.0,
        person_id=raised.person_id,
        bag_id=raised.bag_id,
        zones=raised.zones,
        data=_about(told),
    )


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [CaptionAnalyzer]
