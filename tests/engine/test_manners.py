"""Manners: how fast one socket sends and how long it keeps silent."""

from __future__ import annotations

import pytest

from gateway.engine.manners import Manners
from gateway.errors import BadMessage, GatewayError, TooFast
from gateway.limits import Limits
from gateway.protocol import AckIn, ClientEvent, FrameIn, HelloIn, PingIn, RelayIn

LIMITS = Limits()
FRAME, PING = FrameIn(b"\xff\xd8\xff\xd9"), PingIn()


def manners(*, negotiated: bool = False, now: float = 0.0) -> Manners:
    return Manners(LIMITS, now, negotiated=negotiated)


def refusal(
    socket: Manners, event: ClientEvent, now: float, message: str | bytes = "", fps: float = 10
) -> GatewayError | None:
    """What a message that means this is refused with, if it is."""
    try:
        socket.admit(message, now, fps)
        socket.heed(event, message, now)
    except GatewayError as error:
        return error
    return None


def closed_at(socket: Manners, event: ClientEvent, per_s: float, seconds: float, **how: object) -> float | None:
    """When a socket that sends this often is closed for it."""
    for step in range(round(per_s * seconds)):
        now = step / per_s
        error = refusal(socket, event, now, **how)  # type: ignore[arg-type]
        if isinstance(error, TooFast) and socket.floods(error, now):
            return now
    return None


# --- how fast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "message", "per_s", "closes"),
    [
        (FRAME, b"\xff\xd8", 95, False),
        (FRAME, b"\xff\xd8", 130, True),
        (FRAME, "data:", 95, False),
        (FRAME, "data:", 130, True),
        (PING, "{}", 190, False),
        (PING, "{}", 250, True),
        (AckIn(0), "{}", 290, False),
        (AckIn(0), "{}", 400, True),
        (RelayIn({}), "{}", 190, False),
        (RelayIn({}), "{}", 250, True),
    ],
)
def test_ten_times_the_contract_for_five_seconds_closes_and_less_never_does(
    event: ClientEvent, message: str | bytes, per_s: float, closes: bool
) -> None:
    at = closed_at(manners(), event, per_s, 30, message=message)
    assert (at is not None) == closes
    if at is not None:
        assert 5 <= at < 8


def test_a_stream_of_one_frame_a_second_is_no_trap_for_an_ordinary_camera() -> None:
    assert closed_at(manners(), FRAME, 60, 60, message=b"\xff\xd8", fps=1) is None


def test_bursts_with_pauses_between_are_forgiven() -> None:
    socket = manners()
    for second in range(0, 60, 3):
        for _ in range(500):
            error = refusal(socket, PING, second)
            assert not (isinstance(error, TooFast) and socket.floods(error, second))


def test_messages_for_everybody_are_passed_on_20_a_second_and_the_rest_is_told_once_a_second() -> None:
    socket = manners()
    errors = [refusal(socket, RelayIn({}), step / 100) for step in range(1000)]
    passed = errors.count(None)
    assert 40 + 9 * 20 <= passed <= 40 + 10 * 20
    refused = {error.code for error in errors if error}
    assert refused == {"too_fast"}
    assert sum(socket.may_tell(step / 100) for step in range(1000)) == 10


def test_a_message_for_everybody_has_a_size() -> None:
    socket, most = manners(), LIMITS.max_relay_bytes
    assert refusal(socket, RelayIn({}), 0, "x" * most) is None
    for large in ("x" * (most + 1), "ü" * (most // 2 + 1)):
        with pytest.raises(BadMessage, match="may have 16384 bytes"):
            socket.heed(RelayIn({}), large, 0)


def test_a_contract_that_changes_is_the_new_one_at_once() -> None:
    socket = manners()
    assert closed_at(socket, FRAME, 200, 3, message=b"\xff\xd8", fps=60) is None
    assert closed_at(socket, FRAME, 200, 30, message=b"\xff\xd8", fps=5) is not None


# --- how silent -------------------------------------------------------------------------------------------------------


def words(socket: Manners, now: float) -> str | None:
    late = socket.overdue(now)
    return late.code if late else None


def test_a_viewer_may_be_silent_for_ever() -> None:
    socket = manners()
    refusal(socket, PING, 5)
    refusal(socket, RelayIn({}), 6)
    assert (socket.deadline(), socket.overdue(1e9)) == (None, None)


def test_who_negotiated_the_protocol_says_something_within_10_s() -> None:
    socket = manners(negotiated=True, now=100)
    assert socket.deadline() == 110
    assert (words(socket, 109.9), words(socket, 110)) == (None, "hello_timeout")


@pytest.mark.parametrize("first", [HelloIn(), PING, AckIn(0)])
def test_after_its_first_word_a_frame_is_due_within_60_s(first: ClientEvent) -> None:
    socket = manners(negotiated=True)
    refusal(socket, first, 9)
    refusal(socket, PING, 30)
    assert (words(socket, 68.9), words(socket, 69)) == (None, "publisher_silent")


@pytest.mark.parametrize("negotiated", [True, False])
def test_who_has_sent_a_frame_sends_the_next_within_60_s(negotiated: bool) -> None:
    socket = manners(negotiated=negotiated)
    for now in (3, 50, 100):
        refusal(socket, FRAME, now)
    refusal(socket, PING, 150)
    assert (words(socket, 159.9), words(socket, 160)) == (None, "publisher_silent")
