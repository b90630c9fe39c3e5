"""Whoever upgraded hears why it ends, even one that goes on sending; and its own close is found behind all it sent."""

from __future__ import annotations

import time

import pytest

from tests.edge.raw import BINARY, CLOSE, TEXT, frame, open_socket
from tests.server import Server

pytestmark = pytest.mark.e2e

GOODBYE = frame(CLOSE, b"\x03\xe8")
MORE = frame(BINARY, bytes(60_000)) * 15  # more than one read takes, so that some of it lies unread


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(TEXT, b"x", rsv=4), "1002"),
        (frame(TEXT, b"\xff"), "1007"),
        (frame(BINARY, bytes(70_000)), "1009"),
        (GOODBYE, "1000"),
        (frame(TEXT, b"{") * 5, "4400"),
    ],
    ids=["protocol", "text", "size", "close", "faults"],
)
def test_a_close_code_reaches_who_goes_on_sending(tight: Server, said: bytes, code: str) -> None:
    """Who closes with bytes unread resets the connection, and on its way a reset overtakes what was said before."""
    with open_socket(tight.address, f"/ws/stream/{tight.open(grace_s=60)}") as connection:
        assert connection.send(said + MORE + GOODBYE).outcome() == code
        assert connection.rest() is not None, "the connection was reset"


def test_who_answers_the_close_behind_many_messages_need_not_wait(tight: Server) -> None:
    """Nobody takes these messages any more, and the answer is behind them."""
    with open_socket(tight.address, f"/ws/stream/{tight.open(grace_s=60)}") as connection:
        connection.send(frame(TEXT, b"{") * 5000 + GOODBYE)
        assert connection.outcome() == "4400"
        began = time.monotonic()
        connection.rest()
        assert time.monotonic() - began < 5.0, "the answer was not found, and uvicorn's 10 s had to pass"
