"""Caption: asked rarely, about what was raised, never waited for; and nothing it is told is believed."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest

from analyzers import caption
from analyzers._caption_budget import Budget
from analyzers._caption_endpoint import (
    GROQ,
    GROQ_MODEL,
    MAX_TEXT,
    Call,
    Endpoint,
    Reply,
    Trouble,
    find_endpoint,
    read_answer,
    retry_after,
)
from analyzers.caption import CaptionAnalyzer, CaptionOptions
from gateway.analyzer import SessionInfo, fill_options
from gateway.errors import UnknownOption
from gateway.results import Box, Detection, Result, Sighting
from tests.analyzers.stage import frame_of
from tests.analyzers.vision_endpoint import VisionEndpoint, completion, raw, vision_endpoint
from tests.server import eventually

KEY = "sk-do-not-show-me"
SMOKING = Result(sightings=(Sighting("smoking", "person-3", label="smoker", box=Box(0.1, 0.1, 0.4, 0.9)),))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[VisionEndpoint]:
    for name in ("FRAMEGATE_GROQ_API_KEY", "GROQ_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FRAMEGATE_CAPTION_API_KEY", KEY)
    with vision_endpoint() as found:
        yield found


class Stream:
    """One stream of one analyzer, at 10 frames a second of its own clock."""

    def __init__(self, analyzer: CaptionAnalyzer, **options: Any) -> None:
        self.analyzer = analyzer
        self.memory = analyzer.open(SessionInfo("s", options=replace(analyzer.options, **options)))
        self.seq = 0

    def show(self, picture: Any = None, **results: Result) -> Result:
        self.seq += 1
        grey = np.full((48, 64, 3), 90, np.uint8) if picture is None else picture
        frame = replace(frame_of(grey, at=self.seq / 10, seq=self.seq), results=results)
        return self.analyzer.analyze(frame, self.memory)

    def until_answered(self, **results: Result) -> Result:
        """Frames go on until no request is under way."""

        def quiet() -> Result | None:
            found = self.show(**results)
            return found if found.data["state"] != "asking" else None

        return eventually(quiet, within_s=10)


@pytest.fixture
def make(endpoint: VisionEndpoint) -> Iterator[Any]:
    made: list[CaptionAnalyzer] = []

    def make(**options: Any) -> CaptionAnalyzer:
        chosen = {"endpoint": endpoint.url, "model": "tiny", **options}
        made.append(CaptionAnalyzer(fill_options(CaptionAnalyzer, chosen)))
        return made[-1]

    yield make
    for analyzer in made:
        analyzer.close()


# --- what is asked, and when -----------------------------------------------------------------------------------------


def test_what_was_raised_is_described_with_a_later_frame(endpoint: VisionEndpoint, make: Any) -> None:
    stream = Stream(make())
    assert stream.show(smoking=Result()).data == {"state": "idle"}
    assert stream.show(smoking=SMOKING).data == {"state": "asking"}
    told = stream.until_answered(smoking=SMOKING)
    about = {
        "text": "A man smokes.",
        "model": "tiny-1",
        "latency_ms": told.data["caption"]["latency_ms"],
        "tokens": 42,
        "seq": 2,
        "about": {"analyzer": "smoking", "event_type": "smoking", "key": "person-3"},
    }
    assert told == Result(
        measures={"captions": 1, "tokens": 42},
        data={"state": "idle", "caption": about},
        sightings=(
            Sighting("caption.described", "2", label="smoker", box=Box(0.1, 0.1, 0.4, 0.9), linger_s=1.0, data=about),
        ),
    )
    assert 0 < about["latency_ms"] < 10_000
    stream.show(smoking=SMOKING)
    assert len(endpoint.asked) == 1


def test_the_request_is_a_chat_completion_with_the_picture_as_a_data_url(endpoint: VisionEndpoint, make: Any) -> None:
    stream = Stream(make(prompt="What is it?", side=64, max_tokens=20))
    stream.show(np.full((240, 320, 3), 90, np.uint8), smoking=SMOKING)
    stream.until_answered()
    ((body, headers),) = endpoint.asked
    (text, picture) = body["messages"][0].pop("content")
    assert body == {"model": "tiny", "max_tokens": 20, "messages": [{"role": "user"}]}
    assert text == {"type": "text", "text": "What is it? The analyzer smoking reported: smoking."}
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    sent = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert sent is not None
    assert sent.shape == (48, 64, 3)
    assert headers["authorization"] == f"Bearer {KEY}"


def test_an_event_that_goes_on_is_asked_about_once_and_again_after_a_pause(endpoint: VisionEndpoint, make: Any) -> None:
    stream = Stream(make(hold_s=0.5))
    stream.show(smoking=SMOKING)
    stream.until_answered(smoking=SMOKING)
    for _ in range(30):
        told = stream.show(smoking=SMOKING)
    assert told.data == {"state": "idle"}, "a description is told for hold_s"
    stream.seq += 200
    assert stream.show(smoking=SMOKING).data == {"state": "asking"}


def test_motion_alone_is_no_reason_unless_it_is_named(make: Any) -> None:
    moving = Result(sightings=(Sighting("motion"),))
    assert Stream(make()).show(motion=moving).data == {"state": "idle"}
    assert Stream(make(), triggers=("motion",)).show(motion=moving).data == {"state": "asking"}
    assert Stream(make(), triggers=("abandoned",)).show(smoking=SMOKING).data == {"state": "idle"}


def test_the_gravest_is_asked_about_first(endpoint: VisionEndpoint, make: Any) -> None:
    grave = Result(sightings=(Sighting("fall", "person-9", severity="critical"),))
    stream = Stream(make())
    stream.show(smoking=SMOKING, anomaly=grave)
    told = stream.until_answered()
    assert told.data["caption"]["about"]["event_type"] == "fall"


def test_a_stream_has_one_request_under_way_and_all_together_two(endpoint: VisionEndpoint, make: Any) -> None:
    endpoint.answers = [endpoint.slow]
    analyzer = make()
    streams = [Stream(analyzer) for _ in range(3)]
    for _ in range(5):
        states = [stream.show(smoking=SMOKING, anomaly=SMOKING).data for stream in streams]
    busy = {"state": "waiting", "reason": "other streams are being asked about"}
    assert states == [{"state": "asking"}, {"state": "asking"}, busy]
    eventually(lambda: len(endpoint.asked) == 2)


def test_a_slow_endpoint_costs_no_frame_any_time(endpoint: VisionEndpoint, make: Any) -> None:
    endpoint.answers = [endpoint.slow]
    stream = Stream(make())
    began = time.monotonic()
    for _ in range(20):
        stream.show(smoking=SMOKING)
    assert time.monotonic() - began < 1.0
    assert stream.memory.asked is not None


def test_requests_of_a_minute_and_of_a_day_are_counted(endpoint: VisionEndpoint, make: Any) -> None:
    stream = Stream(make(per_minute=1))
    stream.show(smoking=SMOKING)
    stream.until_answered()
    other = Result(sightings=(Sighting("abandoned", "bag-1"),))
    said = stream.show(bags=other).data
    assert (said["state"], said["reason"]) == ("waiting", "1 requests in a minute are spent")
    budget = Budget(per_minute=2, per_day=3)
    refused = []
    for now in (0.0, 1.0, 2.0, 61.0, 70.0, 90_000.0):
        refused.append(why := budget.refusal(now))
        if why is None:
            budget.spend(now)
    minute, day = "2 requests in a minute are spent", "3 requests in a day are spent"
    assert refused == [None, None, minute, None, day, None]


def test_after_a_refusal_nobody_is_asked_for_as_long_as_was_said_or_ever_longer() -> None:
    budget = Budget(100, 100)
    budget.refused(0.0, 30.0, lasting=False)
    assert [budget.refusal(now) for now in (29.0, 30.0)] == ["asks again in 1 s", None]
    pauses = []
    now = 100.0
    for _ in range(8):
        budget.refused(now, None, lasting=False)
        pauses.append(next(s for s in range(1000) if budget.refusal(now + s) is None))
        now += 1000
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    budget.answered()
    budget.refused(now, None, lasting=False)
    assert budget.refusal(now + 5) is None
    budget.refused(now, None, lasting=True)
    assert budget.refusal(now + 299) == "asks again in 1 s"


def test_faces_are_pixelated_and_without_their_analyzer_nothing_is_sent(endpoint: VisionEndpoint, make: Any) -> None:
    fine = np.indices((240, 320)).sum(0) % 2 * 255
    picture = np.repeat(fine[..., None], 3, 2).astype(np.uint8)
    stream = Stream(make(blur_faces=True))
    why = "faces are to be blurred, and the analyzer faces did not look at this frame"
    assert stream.show(picture, smoking=SMOKING).data == {"state": "waiting", "reason": why}
    assert endpoint.asked == []
    face = Result((Detection("face", 0.9, Box(0.25, 0.25, 0.5, 0.5)),))
    stream.show(picture, smoking=SMOKING, faces=face)
    stream.until_answered()
    ((body, _),) = endpoint.asked
    data = body["messages"][0]["content"][1]["image_url"]["url"].partition(",")[2]
    sent = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sent is not None
    assert sent[70:110, 90:150].std() < 20 < 100 < sent[150:, :].std()


# --- what comes back -------------------------------------------------------------------------------------------------


def ask(endpoint: VisionEndpoint, *, timeout_s: float = 5.0) -> Reply | Trouble | None:
    call = Call(Endpoint(endpoint.url, "tiny", KEY), {"max_tokens": 5}, timeout_s)
    eventually(lambda: call.done, within_s=10)
    return call.outcome


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (raw(429, Retry_After="17"), Trouble("the endpoint answered 429 Too Many Requests", 17.0)),
        (raw(500), Trouble("the endpoint answered 500 Internal Server Error")),
        (raw(503, Retry_After="soon"), Trouble("the endpoint answered 503 Service Unavailable")),
        (raw(401, KEY.encode()), Trouble("the endpoint answered 401 Unauthorized", lasting=True)),
        (raw(302, Location="http://127.0.0.1:9/"), Trouble("the endpoint answered 302 Found", lasting=True)),
        (raw(200, b"<html>busy</html>"), Trouble("the answer is no chat completion", lasting=True)),
        (raw(200, b"[" * 60_000), Trouble("the answer is no chat completion", lasting=True)),
        (raw(200, b'{"choices": []}'), Trouble("the answer is no chat completion", lasting=True)),
        (raw(200, b"x" * 5_000_000), Trouble("the answer is longer than 65536 bytes", lasting=True)),
        (completion(" \n"), Trouble("the answer says nothing")),
        (completion(None), Trouble("the answer says nothing")),
    ],
    ids=lambda value: value.reason if isinstance(value, Trouble) else "",
)
def test_what_is_no_answer_is_told_in_our_words(endpoint: VisionEndpoint, answer: Any, trouble: Trouble) -> None:
    endpoint.answers = [answer]
    assert ask(endpoint) == trouble


@pytest.mark.parametrize("way", ["slow", "dripping"])
def test_a_request_ends_with_its_time_whatever_the_endpoint_does(endpoint: VisionEndpoint, way: str) -> None:
    endpoint.answers = [getattr(endpoint, way)]
    assert ask(endpoint, timeout_s=0.3) == Trouble("no answer within 0.3 s")


def test_an_answer_without_end_is_cut_off(endpoint: VisionEndpoint) -> None:
    endpoint.answers = [endpoint.flooding]
    assert ask(endpoint) == Trouble("the answer is longer than 65536 bytes", lasting=True)


def test_an_endpoint_that_is_not_there_is_trouble(endpoint: VisionEndpoint) -> None:
    call = Call(Endpoint("http://127.0.0.1:9/v1", "tiny"), {}, 5.0)
    eventually(lambda: call.done)
    assert call.outcome == Trouble("the endpoint cannot be reached (ConnectError)")


def test_a_model_that_wants_the_newer_name_of_the_limit_gets_it(endpoint: VisionEndpoint) -> None:
    endpoint.answers = [raw(400, b"use 'max_completion_tokens' instead"), completion("Rain.")]
    reply = ask(endpoint)
    assert isinstance(reply, Reply)
    assert reply.text == "Rain."
    assert [body for body, _ in endpoint.asked] == [{"max_tokens": 5}, {"max_completion_tokens": 5}]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("  Two\nlines\x00 \u202e of\ttext ", "Two lines of text"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # text it is, and viewers show it as text
        ('```json\n{"description": "A dog."}\n```', "A dog."),
        ('{"text": 5}', '{"text": 5}'),
        ([{"type": "text", "text": "A"}, {"type": "image"}, {"text": "b"}, 7], "A b"),
        ("<think>hmm</think>A cat.", "A cat."),
        ("long " * 10_000, ("long " * 120)[: MAX_TEXT - 1].rstrip() + "…"),
    ],
)
def test_an_answer_becomes_one_line_of_plain_text(endpoint: VisionEndpoint, content: Any, text: str) -> None:
    endpoint.answers = [completion(content)]
    reply = ask(endpoint)
    assert isinstance(reply, Reply)
    assert reply.text == text


@pytest.mark.parametrize("tokens", [-1, 10**12, "many", None, True])
def test_a_cost_that_is_no_number_counts_nothing(endpoint: VisionEndpoint, tokens: Any) -> None:
    endpoint.answers = [completion("A dog.", tokens=tokens, model="m" * 500)]
    reply = ask(endpoint)
    assert isinstance(reply, Reply)
    assert (reply.tokens, len(reply.model)) == (0, 100)


@pytest.mark.parametrize(
    "body", [b"null", b"7", b'{"choices": {"0": 1}}', b'{"choices": [{"message": "hi"}]}', b"\xff"]
)
def test_no_body_raises(body: bytes) -> None:
    assert read_answer(body, "tiny", 1.0) == Trouble("the answer is no chat completion", lasting=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("9" * 400, 3600.0),
        ("-5", None),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2020 12:00:30 GMT", 0.0),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_as_rfc_9110_has_it(value: str, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 11, 21, 12, tzinfo=UTC)) == seconds


def test_what_failed_is_tried_again_but_not_for_ever(
    endpoint: VisionEndpoint, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "refused", lambda *args, **kwargs: None)  # its pauses have a test of their own
    endpoint.answers = [raw(500)]
    stream = Stream(make(per_minute=100))
    for _ in range(caption.TRIES + 2):
        stream.show(smoking=SMOKING)
        said = stream.until_answered(smoking=Result())
    assert len(endpoint.asked) == caption.TRIES
    assert said.data == {"state": "waiting", "reason": "the endpoint answered 500 Internal Server Error"}


def test_a_refusal_makes_it_wait(endpoint: VisionEndpoint, make: Any) -> None:
    endpoint.answers = [raw(429, Retry_After="60"), completion("A dog.")]
    stream = Stream(make())
    stream.show(smoking=SMOKING)
    said = stream.until_answered(smoking=SMOKING)
    assert said.data["reason"] in ("asks again in 60 s", "asks again in 59 s")
    assert len(endpoint.asked) == 1


# --- secrets and what may be set -------------------------------------------------------------------------------------


def test_the_key_is_in_no_log_result_or_option(
    endpoint: VisionEndpoint, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.answers = [raw(401, f'{{"error": "bad key {KEY}"}}'.encode())]
    analyzer = make()
    stream = Stream(analyzer)
    stream.show(smoking=SMOKING)
    said = stream.until_answered(smoking=SMOKING)
    shown = f"{caplog.text} {said} {analyzer.options} {vars(analyzer)} {stream.memory}"
    assert "401 Unauthorized" in shown
    assert KEY not in shown


def test_closing_gives_up_what_is_under_way(endpoint: VisionEndpoint, make: Any) -> None:
    endpoint.answers = [endpoint.slow]
    analyzer = make()
    Stream(analyzer).show(smoking=SMOKING)
    eventually(lambda: endpoint.asked)
    analyzer.close()
    eventually(lambda: all(thread.name != "caption" for thread in threading.enumerate()))


@pytest.mark.parametrize(
    ("named", "environment", "found"),
    [
        (("", ""), {"GROQ_API_KEY": "g"}, Endpoint(GROQ, GROQ_MODEL, "g")),
        (("", "llava"), {"FRAMEGATE_GROQ_API_KEY": "f", "GROQ_API_KEY": "g"}, Endpoint(GROQ, "llava", "f")),
        (("https://a.example/v1/", "m"), {"GROQ_API_KEY": "g"}, Endpoint("https://a.example/v1", "m", "g")),
        (("http://localhost:1/v1", "m"), {"GROQ_API_KEY": "g"}, Endpoint("http://localhost:1/v1", "m", "g")),
        (("http://10.0.0.5/v1", "m"), {"GROQ_API_KEY": "g"}, Endpoint("http://10.0.0.5/v1", "m")),
        (
            ("http://10.0.0.5/v1", "m"),
            {"FRAMEGATE_CAPTION_API_KEY": "k", "GROQ_API_KEY": "g"},
            Endpoint("http://10.0.0.5/v1", "m", "k"),
        ),
        (("http://10.0.0.5/v1", "m"), {}, Endpoint("http://10.0.0.5/v1", "m")),
    ],
)
def test_who_is_asked_with_which_key(named: tuple[str, str], environment: dict[str, str], found: Endpoint) -> None:
    assert find_endpoint(*named, environment) == found


def test_without_an_endpoint_or_a_model_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAMEGATE_CAPTION_API_KEY", "FRAMEGATE_GROQ_API_KEY", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    said = CaptionAnalyzer.missing(CaptionOptions())
    assert said is not None
    assert "endpoint and model in [analyzers.caption]" in said
    assert CaptionAnalyzer.missing(CaptionOptions(endpoint="http://h/v1")) == (
        "which model is to be asked at h? Set model in [analyzers.caption]"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "ftp://h/v1"),
        ("endpoint", "h/v1"),
        ("endpoint", "https://user:pw@h/v1"),
        ("endpoint", "https://h/v1?key=1"),
        ("per_minute", -1),
        ("max_tokens", 0),
        ("timeout_s", 0),
        ("side", 1),
        ("prompt", ""),
    ],
)
def test_a_wrong_option_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UnknownOption, match=name):
        fill_options(CaptionAnalyzer, {name: value})


def test_a_stream_chooses_neither_where_pictures_go_nor_what_is_asked_or_spent() -> None:
    own = {"triggers", "hold_s"}
    assert set(CaptionOptions.__dataclass_fields__) - set(CaptionAnalyzer.load_options) == own
