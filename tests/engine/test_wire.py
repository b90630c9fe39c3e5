"""One framing between the gateway and its child processes."""

from __future__ import annotations

import asyncio
import socket
import threading
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine import wire
from gateway.engine.wire import BrokenWire

HEADERS = st.dictionaries(
    st.text(), st.integers() | st.text() | st.lists(st.floats(allow_nan=False, allow_infinity=False)), max_size=4
)


async def read(data: bytes) -> tuple[wire.Header, bytes]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await wire.read(reader)


@given(header=HEADERS, payload=st.binary(max_size=100))
def test_what_is_packed_is_read(header: dict[str, Any], payload: bytes) -> None:
    assert asyncio.run(read(wire.pack(header, payload) + payload)) == (header, payload)


def test_both_sides_speak_the_same() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        large = bytes(3 * 2**20)  # more than a socket buffer holds
        sender = threading.Thread(target=wire.send, args=(ours, {"t": "job"}, large))
        sender.start()
        assert wire.receive(theirs) == ({"t": "job"}, large)
        sender.join()


def test_the_end_of_the_stream_is_the_end_of_the_other_side() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(wire.pack({"t": "job"})[:-1])
        ours.close()
        with pytest.raises(BrokenWire, match="the parent process has gone"):
            wire.receive(theirs)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "the child process has gone"),
        (wire.pack({"t": "hello"})[:-1], "the child process has gone"),
        (wire.pack({"t": "hello"}, b"1234") + b"123", "the child process has gone"),
        (pack(">II", 2**31, 0), "a message of 2147483648"),
        (pack(">II", 3, 0) + b"{a}", "the child process sent no JSON"),
        (pack(">II", 2000, 0) + b"[" * 1000 + b"]" * 1000, "the child process sent no JSON"),
    ],
)
async def test_nonsense_is_a_broken_wire(data: bytes, complaint: str) -> None:
    with pytest.raises(BrokenWire, match=complaint):
        await read(data)


async def test_text_without_a_utf8_form_breaks_nothing() -> None:
    """A plugin's exception may quote a file name that is no text."""
    assert await read(wire.pack({"error": "no such file: \udce9.jpg"})) == ({"error": "no such file: ?.jpg"}, b"")
