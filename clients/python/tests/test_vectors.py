"""The vectors that every client and the server share: what goes over the wire and what it means."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import pytest
from framegate_client.errors import Answer
from framegate_client.messages import Ack, Bye, Frame, Hello, Message, SlowDown
from framegate_client.pacing import Pacer
from framegate_client.protocol import (
    hello,
    micros_of,
    pack_frame,
    ping,
    read_message,
    relay,
    subscribe,
    unpack_frame,
)
from framegate_client.reconnect import Retry, Stop, after_asking, after_close

from clients.python.tests.conftest import vectors

Vector = dict[str, Any]


@pytest.mark.parametrize("vector", vectors("server_messages.json"))
def test_a_client_reads_what_the_server_says(vector: Vector) -> None:
    message = read_message(vector["text"] if "text" in vector else bytes.fromhex(vector["hex"]))
    assert ("ignored" if message is None else message.type) == vector["kind"]
    assert {path: _at(message, path) for path in vector["fields"]} == vector["fields"]


def _at(message: Message | None, path: str) -> Any:
    """The value at `analyzers.0.name`, as it came."""
    if isinstance(message, Frame):
        return message.jpeg.hex() if path == "image_hex" else getattr(message, path)
    assert message is not None
    return reduce(lambda value, key: value[int(key) if key.isdigit() else key], path.split("."), message.raw)  # type: ignore[index]


def test_each_field_of_a_message_is_an_attribute_of_its_type() -> None:
    """The vectors compare what came; this, what was made of it."""
    texts = [vector.values[0]["text"] for vector in vectors("server_messages.json") if "text" in vector.values[0]]
    read = {message.type: message for text in texts if (message := read_message(text))}
    assert {kind for kind, message in read.items() if type(message) is Message} == {"weather"}
    result = read_message(texts[1])
    assert result.detections[0].box == (0.1, 0.2, 0.3, 0.4)  # type: ignore[union-attr]
    assert result.analyzers["objects"].detections is None  # type: ignore[union-attr]
    assert micros_of(result.captured_at) == 1795243749123000  # type: ignore[union-attr]


@pytest.mark.parametrize("vector", vectors("headers.json"))
def test_a_header_packs_to_its_bytes_and_back(vector: Vector) -> None:
    image = bytes.fromhex(vector["image_hex"])
    packed = pack_frame(image, vector["seq"], vector["captured_us"], vector["meta"])
    assert packed.hex() == vector["hex"]
    assert unpack_frame(packed) == Frame("frame", {}, vector["seq"], vector["captured_us"], image, vector["meta"])


@pytest.mark.parametrize("vector", vectors("pacing.json"))
def test_a_publisher_keeps_the_pace(vector: Vector) -> None:
    pacer, offers, expected = Pacer(), [], []
    for step in vector["steps"]:
        message = read_message(json.dumps(step["message"])) if "message" in step else None
        match step["do"], message:
            case "offer", _:
                offers.append(_offer(pacer, step["at"]))
                expected.append({key: step[key] for key in step if key in ("sent", "dropped")})
            case "hello", Hello():
                pacer.hello(message)
            case "ack", Ack():
                pacer.ack(message, step["at"])
            case "slow_down", SlowDown():
                pacer.slow_down(message)
            case "disconnect", None:
                pacer.disconnect()
            case unknown:
                raise AssertionError(unknown)
    assert offers == expected


def _offer(pacer: Pacer, now: float) -> dict[str, Any]:
    refusal = pacer.refusal(now)
    assert (refusal is None) == (pacer.opens_at(now) <= now), "when to look again must agree"
    return {"sent": pacer.take(now)} if refusal is None else {"dropped": refusal}


@pytest.mark.parametrize("vector", vectors("closes.json"))
def test_a_closed_socket_is_left_or_opened_again(vector: Vector) -> None:
    bye = _bye(vector["bye"])
    step = after_close(vector["code"], bye) or after_asking(vector["code"], _answer(vector["rest"]))
    if vector["then"] == "stop":
        assert isinstance(step, Stop)
        assert step.reason == vector["reason"]
    else:
        assert isinstance(step, Retry)
        assert step.after_s * 1000 == vector["at_least_ms"]


def _bye(raw: Vector | None) -> Bye | None:
    message = None if raw is None else read_message(json.dumps({"type": "bye", **raw}))
    assert message is None or isinstance(message, Bye)
    return message


def _answer(rest: Any) -> Answer | None:
    return None if rest in (None, "down") else Answer.of(rest["status"], rest, None)


@pytest.mark.parametrize("name", ["refusals.json", "faults.json"])
def test_whatever_the_gateway_closes_for_is_a_defect_that_trying_again_does_not_cure(name: str) -> None:
    found = [vector.values[0] for vector in vectors(name)]
    codes = {vector["close_code"] for vector in found if "close_code" in vector}
    codes |= {step["close"] for vector in found for step in vector.get("steps", ()) if step.get("close")}
    assert codes
    for code in codes:
        step = after_close(code, None)
        assert isinstance(step, Stop)
        assert step.error is not None
        assert step.error.close_code == code


def test_what_a_client_says_means_what_the_server_takes_it_for() -> None:
    means = {v.values[0]["name"]: v.values[0] for v in vectors("client_messages.json")}
    said = {
        "hello that wants acks": hello(),
        "hello that resumes": hello(resume="f1e2d3"),
        "subscribe to base64 pictures and two topics": subscribe("base64", ["results", "events"]),
        "subscribe to nothing": subscribe(topics=[]),
        "ping": ping(),
        "message": relay({"hello": "you", "n": [1, 2]}),
        "message with text": relay("Grüße \0"),
    }
    assert {name: json.loads(text) for name, text in said.items()} == {
        name: json.loads(means[name]["text"]) for name in said
    }
    whole = means["binary with header and meta"]
    meaning = whole["means"]
    image = bytes.fromhex(meaning["image_hex"])
    assert pack_frame(image, meaning["seq"], meaning["captured_us"], meaning["meta"]).hex() == whole["hex"]


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"result"}',
        '{"type":"result","stream_id":"d","seq":1e999,"width":1,"height":1,"analyzers":{}}',
        '{"type":"ack","seq":"many"}',
        '{"type":"ack","seq":1,"credits":{}}',
        '{"type":"hello","limits":[]}',
        '{"type":"hello","limits":{"max_fps":"fast"}}',
        '{"type":"slow_down","fps":0}',
        '{"type":"bye","retry_ms":[]}',
        '{"type":"status","state":"live","analyzers":[1]}',
    ],
)
def test_a_message_whose_fields_do_not_fit_is_handed_on_as_it_came(text: str) -> None:
    message = read_message(text)
    if not isinstance(message, Hello):  # its limits are a list, which says nothing
        assert message == Message(json.loads(text)["type"], json.loads(text))


@pytest.mark.parametrize(
    "text", ['{"type":"frame","seq":1,"image":"data:image/jpeg;base64,%%%"}', '{"type":"frame"}', "[" * 9999]
)
def test_what_cannot_be_read_is_passed_over(text: str) -> None:
    assert read_message(text) is None


def test_meta_that_the_header_cannot_carry_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="65511 bytes"):
        pack_frame(b"", 0, meta={"a": "x" * 70_000})
