"""Whatever a web server sends instead of pictures: it costs a bounded time and memory, is told, and is tried again."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any, NoReturn

import pytest

from gateway.media import dial
from gateway.media.dial import LOOKUP_S
from gateway.media.errors import SourceError
from gateway.media.fetch import Web
from gateway.media.inputs import Cuts, open_input
from gateway.media.messages import Gone, Open, Report, Setup, Shot, Told, Wish
from gateway.media.pull import SLACK_S, Pull
from gateway.media.sources import Source, parse
from tests.pictures import picture

PATIENCE_S = 30.0
CHUNK = 2**16


class Listener:
    """Hears a pull; its clock is `now`."""

    def __init__(self, address: str, **terms: Any) -> None:
        self.now = 100.0
        self.heard: SimpleQueue[Report] = SimpleQueue()
        setup = Setup(retry_max_s=0.01, snapshot_s=0.01, **terms)
        self.pull = Pull(Open(1, parse(address), Wish(1)), setup, self.hear, clock=lambda: self.now)

    def hear(self, said: Report, _payload: bytes) -> None:
        self.heard.put(said)

    def until(self, *kinds: type[Report]) -> Report:
        while not isinstance(said := self.heard.get(timeout=PATIENCE_S), kinds):
            pass
        return said

    def lost(self) -> Told:
        """The next failure, unless a picture comes before."""
        while True:
            told = self.until(Told, Shot)
            assert isinstance(told, Told), "that was taken for a picture"
            if told.state == "lost":
                return told

    def __enter__(self) -> Listener:
        self.pull.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pull.close()
        self.until(Gone)


@contextmanager
def web(*lines: bytes, body: bytes = b"", endless: bytes = b"", silent: Event | None = None) -> Iterator[int]:
    """A server that always answers the same, and says `endless` until it is left alone; its port.

    With `silent` it says nothing behind the body, and tells that it has come so far.
    """

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            try:
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                self.wfile.write(b"".join(line + b"\r\n" for line in lines) + body)
                while endless:
                    self.wfile.write(endless)
                if silent is not None:
                    silent.set()
                    self.rfile.read()
            except OSError:
                pass

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def answer(kind: str, *more: bytes) -> tuple[bytes, ...]:
    return (b"HTTP/1.0 200 OK", b"Content-Type: " + kind.encode(), *more, b"")


MOTION = "multipart/x-mixed-replace; boundary=x"
HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 30_000, 30_000, 1, 0, 0, 0, 0)
HALF = picture("red")[: len(picture("red")) // 2 + 400]
CASES: dict[str, tuple[dict[str, Any], tuple[bytes, ...], str, str]] = {
    "nothing": ({}, answer("image/jpeg"), "codec", "no JPEG"),
    "a PNG that claims 900 Mpx": ({"body": HUGE}, answer("image/png"), "codec", "30000x30000"),
    "half a picture": (
        {"body": HALF},
        answer("image/jpeg", b"Content-Length: %d" % len(picture("red"))),
        "ended",
        "within its answer",
    ),
    "a part without end": (
        {"body": b"--x\r\n\r\n\xff\xd8", "endless": b"y" * CHUNK},
        answer(MOTION),
        "answer",
        "32 MiB",
    ),
    "a part of 2 GB": (
        {"body": b"--x\r\nContent-Length: 2000000000\r\n\r\n\xff\xd8", "endless": b"y" * CHUNK},
        answer(MOTION),
        "answer",
        "32 MiB",
    ),
    "a playlist without end": (
        {"body": b"#EXTM3U\n", "endless": b"#EXTINF:1,\nx.ts\n" * 4096},
        answer("application/x-mpegurl"),
        "answer",
        "1048576 bytes",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_picture_is_told_and_tried_again(case: str) -> None:
    how, lines, code, words = CASES[case]
    with web(*lines, **how) as port, Listener(f"http://127.0.0.1:{port}/x", endpoints=(f"127.0.0.1:{port}",)) as heard:
        told = [heard.lost(), heard.lost()]
    assert [each.code for each in told] == [code] * 2
    assert words in (told[0].detail or "")


SLOW = {
    "inside its header": (b"HTTP/1.0 200 OK\r\nX: y", ()),
    "inside a picture": (b"\xff\xd8", answer("image/jpeg")),
    "inside a part": (b"--x\r\nX: y", answer(MOTION)),
    "inside a playlist": (b"#EXTM3U\n", answer("application/x-mpegurl")),
}


@pytest.mark.parametrize("case", SLOW)
def test_who_never_comes_to_an_end_is_cut_at_the_deadline_and_nobody_hangs(case: str) -> None:
    body, lines = SLOW[case]
    said = Event()
    with web(*lines, body=body, silent=said) as port:
        address = f"http://127.0.0.1:{port}/x"
        with Listener(address, endpoints=(f"127.0.0.1:{port}",), open_s=100.0, read_s=100.0) as heard:
            assert said.wait(PATIENCE_S)
            seen = [heard.pull.stuck()]
            heard.now += 10_000
            seen.append(heard.pull.stuck())
            told = heard.lost()
            heard.now += SLACK_S + LOOKUP_S + 100.0 + 1
            seen.append(heard.pull.stuck())
    assert (seen, told.code) == ([False] * 3, "timeout")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_source_that_was_cut_dials_no_more(scheme: str) -> None:
    cuts = Cuts()
    cuts.cut()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        setup, source = Setup(endpoints=(f"127.0.0.1:{port}",), open_s=1.0), parse(f"{scheme}://127.0.0.1:{port}/x")
        with pytest.raises(SourceError) as ended:
            _ = open_input(source, setup, cuts) if scheme == "rtsp" else Web(source, setup, cuts).get()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert ended.value.code == "ended"


@pytest.mark.parametrize(("address", "more_s"), [("http://192.168.1.9/", LOOKUP_S + 7), ("file:///x", 0)])
def test_who_may_be_at_a_new_connection_when_he_is_cut_has_the_time_that_takes(address: str, more_s: float) -> None:
    now = [100.0]
    pull = Pull(Open(1, parse(address), Wish(1)), Setup(open_s=7.0), lambda *_: None, clock=lambda: now[0])
    pull.expect(5)
    seen = []
    for seconds in (5.1, SLACK_S + more_s - 0.1, 0.2):
        now[0] += seconds
        seen.append(pull.stuck())
    assert seen == [False, False, True]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ValueError("a defect"), MemoryError()], ids=repr)
def test_a_defect_costs_one_attempt(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr("gateway.media.pull.pictures", broken)
    with Listener("rtsp://192.168.1.9/") as heard:
        told = [heard.lost(), heard.lost()]
    assert [(each.code, each.attempts) for each in told] == [("internal", 1), ("internal", 2)]


def test_a_pull_whose_gateway_has_gone_ends() -> None:
    ended = Event()

    def gone(said: Report, _payload: bytes) -> None:
        if isinstance(said, Gone):
            ended.set()
        raise BrokenPipeError

    Pull(Open(1, parse("rtsp://192.168.1.9/"), Wish(1)), Setup(), gone).start()
    assert ended.wait(PATIENCE_S)


def test_four_addresses_that_say_nothing_take_no_longer_than_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        setup = Setup(endpoints=(f"127.0.0.1:{port}",), open_s=1.0, read_s=PATIENCE_S)
        began = time.monotonic()
        with pytest.raises(SourceError) as mute:
            dial.dial(Source("rtsp", "camera.example", port, tls=True), setup, lookup=lambda *_: ["127.0.0.1"] * 4)
    assert mute.value.code == "timeout"
    assert time.monotonic() - began < PATIENCE_S / 2


def test_a_list_of_issuers_that_cannot_be_read_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        setup = Setup(endpoints=(f"127.0.0.1:{port}",), tls_ca="/nowhere/ca.pem")
        with pytest.raises(SourceError) as unread:
            dial.dial(Source("rtsp", "camera.example", port, tls=True), setup, lookup=lambda *_: ["127.0.0.1"])
    assert unread.value.code == "tls"
    assert unread.value.detail == "media.tls_ca cannot be used: No such file or directory"


def test_a_resolver_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()

    def silent(*_: object, **__: object) -> list[Any]:
        over.wait(PATIENCE_S)
        return []

    monkeypatch.setattr("gateway.media.dial.socket.getaddrinfo", silent)
    monkeypatch.setattr(dial, "LOOKUP_S", 0.1)
    try:
        with pytest.raises(SourceError) as unknown:
            dial.looked_up("camera.example", 80)
    finally:
        over.set()
    assert unknown.value.code == "resolve"
    assert "within 0.1 s" in unknown.value.detail
