"""The wire protocol: against the vectors every client shares, and as properties no input may break."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import protocol
from gateway.errors import BadImage, BadMessage, GatewayError, ImageTooLarge
from gateway.protocol import FrameIn, StreamProtocol, pack_frame, parse_binary, parse_text, unpack_frame

VECTORS = Path(__file__).parent / "vectors"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JPEG = bytes.fromhex("ffd8ffe000104a46494600ffd9")


def vectors(file: str) -> pytest.MarkDecorator:
    """One test for every vector of the file."""
    found = json.loads((VECTORS / file).read_text("utf-8"))["vectors"]
    return pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in found])


def message_of(vector: dict[str, Any]) -> str | bytes:
    return vector["text"] if "text" in vector else bytes.fromhex(vector["hex"])


def micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def meaning(event: protocol.ClientEvent) -> dict[str, Any]:
    """The event in the vectors' words."""
    kind = type(event).__name__.removesuffix("In").lower()
    match event:
        case FrameIn():
            return {
                "kind": kind,
                "image_hex": event.image.hex(),
                "image_kind": event.kind,
                "seq": event.seq,
                "captured_us": micros(event.captured_at),
                "meta": dict(event.meta),
            }
        case protocol.SubscribeIn():
            return {"kind": kind, "frames": event.pictures, "topics": list(event.topics)}
        case _:
            return {"kind": kind, **asdict(event)}


# --- the vectors -----------------------------------------------------------------------------------------------------


@vectors("client_messages.json")
def test_a_message_means_what_its_vector_says(vector: dict[str, Any]) -> None:
    assert meaning(StreamProtocol().receive(message_of(vector))) == vector["means"]


@vectors("refusals.json")
def test_a_refused_message_answers_with_its_code(vector: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refusal:
        StreamProtocol().receive(message_of(vector))
    assert (refusal.value.code, refusal.value.close_code) == (vector["code"], vector["close_code"])


@vectors("headers.json")
def test_a_header_packs_to_its_bytes_and_back(vector: dict[str, Any]) -> None:
    seq, captured_us, meta, image = (vector["seq"], vector["captured_us"], vector["meta"], vector["image_hex"])
    captured_at = None if captured_us is None else EPOCH + timedelta(microseconds=captured_us)
    message = bytes.fromhex(vector["hex"])
    assert pack_frame(bytes.fromhex(image), seq, captured_at, meta) == message
    assert unpack_frame(message) == (seq, captured_at, meta, bytes.fromhex(image))


@vectors("faults.json")
def test_repeated_mistakes_close_when_the_vector_says(vector: dict[str, Any]) -> None:
    connection = StreamProtocol()
    for step in vector["steps"]:
        if step.get("image") == "ok":
            connection.image_accepted()
        else:
            assert connection.fault(fault_of(step["code"]), step["at"]) == step["close"], step


def fault_of(code: str) -> GatewayError:
    classes = {BadImage.code: BadImage, ImageTooLarge.code: ImageTooLarge}
    return classes.get(code, BadMessage)("a mistake", code=code)


# --- refusals too long for a vector ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"n":' + "9" * 5000 + "}", id="a number of 5000 digits"),
        pytest.param('{"a":' * 1000 + "0" + "}" * 1000, id="an object 1000 deep"),
        pytest.param("{\ud800", id="text that has no UTF-8"),
    ],
)
def test_json_beyond_the_parsers_limits_is_refused_as_bad_json(text: str) -> None:
    with pytest.raises(BadMessage) as refusal:
        parse_text(text)
    assert refusal.value.code == "bad_json"


def test_meta_is_refused_when_it_would_not_fit_a_header() -> None:
    room = protocol.META_BYTES - len('{"a":""}')
    frame = parse_text(json.dumps({"type": "frame", "image": "/9j/2Q==", "meta": {"a": "x" * room}}))
    assert isinstance(frame, FrameIn)
    assert unpack_frame(pack_frame(frame.image, 0, None, frame.meta))[2] == frame.meta
    with pytest.raises(BadMessage, match="65511 bytes"):
        parse_text(json.dumps({"type": "frame", "image": "/9j/2Q==", "meta": {"a": "x" * (room + 1)}}))


@pytest.mark.parametrize(
    "message",
    [
        {"type": "frame", "image": "/9j/2Q==", "seq": "9" * 100_000},
        {"type": "frame", "image": "/9j/2Q==", "ts": "9" * 100_000},
        {"type": "frame", "image": "*" * 100_000},
        {"type": "frame", "image": "data:" + "x" * 100_000},
        {"type": "subscribe", "frames": "x" * 100_000},
        {"type": "subscribe", "topics": ["x" * 100_000]},
    ],
)
def test_a_refusal_never_gives_back_a_long_message(message: dict[str, Any]) -> None:
    with pytest.raises(BadMessage) as refusal:
        parse_text(json.dumps(message))
    assert len(refusal.value.detail) < 200


# --- the state of one connection -------------------------------------------------------------------------------------


def test_a_socket_publishes_from_its_first_picture_on() -> None:
    connection = StreamProtocol()
    connection.receive('{"type":"ping"}')
    assert not connection.publishing
    connection.receive(JPEG)
    assert connection.publishing


def test_a_refused_picture_does_not_make_a_publisher() -> None:
    connection = StreamProtocol()
    with pytest.raises(BadMessage):
        connection.receive("not base64")
    assert not connection.publishing


@pytest.mark.parametrize("text", ['{"type":"hello","acks":true}', '{"type":"ack","seq":0}'])
def test_acks_are_for_those_who_ask_or_acknowledge(text: str) -> None:
    connection = StreamProtocol()
    connection.receive('{"type":"hello"}')
    assert not connection.wants_acks
    connection.receive(text)
    assert connection.wants_acks


def test_the_negotiated_protocol_brings_acks_by_itself() -> None:
    assert StreamProtocol(negotiated=True).wants_acks


def test_the_frame_after_the_last_number_still_has_a_header() -> None:
    assert unpack_frame(pack_frame(JPEG, 2**32))[0] == 0


# --- properties ------------------------------------------------------------------------------------------------------

jpegs = st.binary(max_size=200).map(lambda tail: b"\xff\xd8" + tail)
seqs = st.integers(0, 2**32 - 1)
moments = st.none() | st.datetimes(
    min_value=datetime(1970, 1, 1, 0, 0, 0, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)

known_words = {
    "type": st.sampled_from(["frame", "hello", "subscribe", "ack", "message", "ping", "result"]),
    "image": st.sampled_from(["/9j/2Q==", "data:image/png;base64,", "data:,"]),
    "data": json_values,
    "seq": json_values,
    "ts": json_values,
    "meta": json_values,
    "acks": json_values,
    "resume": json_values,
    "frames": json_values,
    "topics": st.lists(st.sampled_from(["results", "events", "weather"])) | json_values,
}
messages = st.fixed_dictionaries({}, optional={key: value | json_values for key, value in known_words.items()})


def receive_or_refuse(message: str | bytes) -> None:
    """Anything but a `GatewayError` fails the test; what is understood can be sent on."""
    answer: GatewayError | protocol.ClientEvent
    try:
        answer = StreamProtocol().receive(message)
    except GatewayError as refusal:
        answer = refusal
    match answer:
        case GatewayError():
            assert answer.close_code in {4400, 4422}
            protocol.error_message(answer)
        case protocol.RelayIn():
            protocol.message("message", data=answer.data)
        case FrameIn():
            pack_frame(answer.image, answer.seq or 0, answer.captured_at, answer.meta)


@given(jpegs, seqs, moments, json_objects)
def test_unpacking_is_the_inverse_of_packing(
    jpeg: bytes, seq: int, captured_at: datetime | None, meta: dict[str, Any]
) -> None:
    assert unpack_frame(pack_frame(jpeg, seq, captured_at, meta)) == (seq, captured_at, meta, jpeg)


@given(st.binary(max_size=300))
def test_base64_gives_back_the_same_bytes(image: bytes) -> None:
    text = b64encode(image).decode()
    broken = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert parse_text("data:image/jpeg;base64," + broken) == FrameIn(image)
    bare = parse_text(text)
    assert isinstance(bare, FrameIn)
    assert bare.image == image


@given(st.text("AZaz09+/=", max_size=40) | st.text(max_size=20))
def test_base64_is_taken_whole_or_refused(text: str) -> None:
    try:
        event = parse_text("data:image/jpeg;base64," + text)
    except BadMessage:
        return
    assert isinstance(event, FrameIn)
    letters = "".join(text.split())
    # The last letter before the padding may carry bits that no byte holds (RFC 4648 section 3.5): they alone are lost.
    kept = len(letters.rstrip("=")) - (1 if letters.endswith("=") else 0)
    again = b64encode(event.image).decode()
    assert (len(again), again[:kept]) == (len(letters), letters[:kept])


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    receive_or_refuse(text)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    receive_or_refuse(data)


@given(st.binary(max_size=60), st.integers(0, 80), st.integers(0, 2**64 - 1))
def test_no_bytes_behind_the_magic_do_more_than_be_refused(rest: bytes, length: int, captured_us: int) -> None:
    receive_or_refuse(b"FG" + rest)
    receive_or_refuse(protocol.HEADER.pack(b"FG", 1, 1, length, 0, 0, 0, captured_us) + rest)


@given(messages | json_values)
def test_no_json_does_more_than_be_refused(value: Any) -> None:
    receive_or_refuse(json.dumps(value))


@given(st.text(st.sampled_from('{}[]":,\\ue0123456789.+-truefalsn \n'), max_size=60).map("{{{}".format))
def test_nothing_that_looks_like_json_does_more_than_be_refused(text: str) -> None:
    receive_or_refuse(text)


# --- the server's messages -------------------------------------------------------------------------------------------


def test_a_server_message_is_one_compact_json_object() -> None:
    assert protocol.message("pong") == '{"type":"pong"}'
    assert protocol.message("message", data="Tür") == '{"type":"message","data":"Tür"}'


def test_bye_names_its_reason_and_when_to_come_back() -> None:
    assert json.loads(protocol.bye_message("ended")) == {"type": "bye", "reason": "ended"}
    assert json.loads(protocol.bye_message("restart", retry_ms=2000)) == {
        "type": "bye",
        "reason": "restart",
        "retry_ms": 2000,
    }


def test_an_error_message_carries_the_code_and_the_detail() -> None:
    assert json.loads(protocol.error_message(BadImage("no JPEG behind the header"))) == {
        "type": "error",
        "code": "undecodable",
        "detail": "no JPEG behind the header",
    }


def test_the_smallest_binary_frame_is_the_header_and_the_jpeg() -> None:
    assert parse_binary(pack_frame(b"\xff\xd8", 3)) == FrameIn(b"\xff\xd8", seq=3)
