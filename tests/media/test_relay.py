"""The relay between libav and a camera: what both would read alike goes through, and nothing else does."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from gateway.media.dial import MOST_BEFORE, Line
from gateway.media.errors import Redirected, SourceError
from gateway.media.relay import Relay
from gateway.media.sources import Source

PATIENCE_S = 20.0
TRANSPORT = b"RTP/AVP/UDP;unicast;client_port=5000-5001;server_port=9-9;source=127.8.9.1"
CHALLENGE = b'WWW-Authenticate: Digest realm="x", nonce="%s"%s\r\n'


@dataclass
class Ends:
    """A relay, what stands for libav, and what stands for the camera."""

    relay: Relay
    libav: socket.socket
    camera: socket.socket
    asked: int = 0

    def ask(self, method: str) -> bytes:
        """Ask as libav does; what the camera hears."""
        self.asked += 1
        self.libav.sendall(f"{method} {self.relay.url} RTSP/1.0\r\nCSeq: {self.asked}\r\n\r\n".encode())
        return head(self.camera)

    def answer(self, *lines: bytes, status: bytes = b"200 OK") -> None:
        self.camera.sendall(b"RTSP/1.0 " + status + b"\r\n" + b"".join(lines) + b"\r\n")

    def ended(self) -> SourceError | Redirected | None:
        """Why the relay ended by itself."""
        assert self.libav.recv(1) == b""
        self.relay.close()
        return self.relay.verdict


def head(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        chunk = connection.recv(1)
        assert chunk, f"it was closed after {data!r}"
        data += chunk
    return data


def exactly(connection: socket.socket, count: int) -> None:
    while count:
        chunk = connection.recv(min(count, 2**20))
        if not chunk:
            raise ConnectionResetError
        count -= len(chunk)


@contextmanager
def relayed(*, user: str = "", lowest: int = 0) -> Iterator[Ends]:
    """`lowest`: the least number that the camera's connection has as a file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = socket.create_connection(server.getsockname())
        if lowest:
            with line as low:
                line = socket.socket(fileno=fcntl.fcntl(low.fileno(), fcntl.F_DUPFD_CLOEXEC, lowest))
        line.settimeout(PATIENCE_S)
        camera, _ = server.accept()
        source = Source("rtsp", "127.0.0.1", server.getsockname()[1], path="/x", user=user, password=user)
        relay = Relay(source, Line(line, "127.0.0.1"), patience_s=PATIENCE_S)
        port = int(relay.url.split("/")[2].rpartition(":")[2])
        try:
            with camera, socket.create_connection(("127.0.0.1", port)) as libav:
                camera.settimeout(PATIENCE_S)
                libav.settimeout(PATIENCE_S)
                yield Ends(relay, libav, camera)
        finally:
            relay.close()


HEADS = {
    "a CR inside a name": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nTran\rsport: " + TRANSPORT + b"\r\n\r\n",
    "a CR before a name": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\rTransport: " + TRANSPORT + b"\r\n\r\n",
    "an LF alone": b"RTSP/1.0 200 OK\r\nCSeq: 1\n\nRTSP/1.0 200 OK\nTransport: " + TRANSPORT + b"\n\n\r\n\r\n",
    "a frame inside": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n$\0\0\x01x: y\r\n\r\n",
    "a line that libav cuts": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length:" + b" " * 5000 + b"9\r\n\r\n",
    "two lengths": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 9\r\nContent-Length: 0\r\n\r\n123456789",
    "a length that is no number": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 9x\r\n\r\n",
    "a length without end": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: " + b"9" * 3990 + b"\r\n\r\n",
    "a status without end": b"RTSP/1.0 " + b"2" * 3990 + b" OK\r\nCSeq: 1\r\n\r\n",
}


@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS)
def test_an_answer_that_libav_would_read_in_another_way_does_not_reach_it(sent: bytes) -> None:
    with relayed() as ends:
        ends.ask("SETUP")
        ends.camera.sendall(sent)
        verdict = ends.ended()
    assert isinstance(verdict, SourceError)
    assert verdict.code == "protocol"


@pytest.mark.parametrize("number", [b"", b"CSeq: 77\r\n"], ids=["no number", "another number"])
def test_an_answer_with_a_number_of_no_use_is_judged_as_well(number: bytes) -> None:
    with relayed() as ends:
        ends.ask("SETUP")
        ends.answer(number, b"Transport: " + TRANSPORT + b"\r\n")
        heard = head(ends.libav)
        ends.ask("PLAY")
        ends.answer(number, b"Location: rtsp://127.8.9.1/\r\n", status=b"302 Moved")
        verdict = ends.ended()
    assert b"127.8.9.1" not in heard
    assert b";source=127.0.0.1\r\n" in heard
    assert isinstance(verdict, Redirected)
    assert verdict.location == "rtsp://127.8.9.1/"


def test_what_a_camera_says_unasked_sends_libav_nowhere() -> None:
    with relayed() as ends:
        ends.ask("OPTIONS")
        ends.answer(b"CSeq: 1\r\n")
        head(ends.libav)
        ends.answer(b"CSeq: 1\r\n", b"Transport: " + TRANSPORT + b"\r\n")
        ends.camera.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\nTransport: " + TRANSPORT + b"\r\n\r\n")
        heard = head(ends.libav)
    assert heard.startswith(b"OPTIONS * RTSP/1.0\r\n")
    assert b"127.8.9.1" not in heard


def test_a_camera_that_calls_every_nonce_stale_gets_two_proofs() -> None:
    with relayed(user="u") as ends:
        proofs = [b"Authorization" in ends.ask("DESCRIBE")]
        for number in (1, 2):
            ends.answer(b"CSeq: %d\r\n" % number, CHALLENGE % (b"n%d" % number, b", stale=true"), status=b"401 No")
            proofs.append(b"Authorization" in head(ends.camera))
        ends.answer(b"CSeq: 3\r\n", CHALLENGE % (b"n3", b", stale=true"), status=b"401 No")
        verdict = ends.ended()
    assert proofs == [False, True, True]
    assert isinstance(verdict, SourceError)
    assert verdict.code == "auth"


def test_a_nonce_that_ends_while_the_camera_plays_costs_nothing() -> None:
    """Many cameras do not say that it is stale."""
    with relayed(user="u") as ends:
        ends.ask("PLAY")
        ends.answer(b"CSeq: 1\r\n", CHALLENGE % (b"first", b""), status=b"401 No")
        assert b'nonce="first"' in head(ends.camera)
        ends.answer(b"CSeq: 2\r\n")
        heard = [head(ends.libav)]
        ends.ask("OPTIONS")
        ends.answer(b"CSeq: 3\r\n", CHALLENGE % (b"second", b""), status=b"401 No")
        heard.append(head(ends.libav))
        verdict = ends.relay.verdict
        asked = ends.ask("OPTIONS")
    assert [text.split()[1] for text in heard] == [b"200", b"401"]
    assert b'nonce="second"' in asked
    assert verdict is None


def test_media_of_which_no_picture_comes_end() -> None:
    frame = b"$\0\xff\xff" + b"x" * 0xFFFF
    most = MOST_BEFORE // len(frame)
    with relayed() as ends:
        for _ in range(2):
            for _ in range(most - 1):  # the relay may count the last one after the picture
                ends.camera.sendall(frame)
                exactly(ends.libav, len(frame))
            ends.relay.seen()
        verdicts = [ends.relay.verdict]
        with suppress(OSError):
            for _ in range(most + 1):
                ends.camera.sendall(frame)
                exactly(ends.libav, len(frame))
        ends.relay.close()
        verdicts.append(ends.relay.verdict)
    assert verdicts[0] is None
    assert isinstance(verdicts[1], SourceError)
    assert verdicts[1].code == "answer"


def test_a_connection_may_have_any_number_as_a_file() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 1200:
        pytest.skip("needs 1200 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 1200), limits[1]))
    try:
        with relayed(lowest=1100) as ends:
            ends.ask("OPTIONS")
            ends.answer(b"CSeq: 1\r\n")
            assert head(ends.libav).startswith(b"RTSP/1.0 200 OK")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
