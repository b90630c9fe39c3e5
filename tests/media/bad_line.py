"""A bad line to a camera: a TCP relay that cuts connections and garbles what the camera sends when a test wants it."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread


class BadLine:
    """`garbled`: the share of media chunks in which a byte is another one. Answers of the camera stay whole."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._random = random.Random(3)
        self.port = int(self._listener.getsockname()[1])
        self.over = Event()
        self.garbled = 0.0
        self.connections = 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self.connections += 1
            self._pairs.append((near, far))
            Thread(target=self._pump, args=(near, far), daemon=True).start()
        self._listener.close()

    def cut(self) -> None:
        """End all connections there are now."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError):
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(2**16)
                    if not data:
                        return
                    (far if ready is near else near).sendall(data if ready is near else self._as_it_comes(data))

    def _as_it_comes(self, data: bytes) -> bytes:
        if data[:1] != b"$" or len(data) < 400 or self._random.random() >= self.garbled:
            return data
        at = self._random.randrange(100, len(data) - 100)  # beyond the headers of RTP and slice
        changed = bytes(each ^ 0x55 for each in data[at : at + 4])
        return data[:at] + changed + data[at + 4 :]


@contextmanager
def bad_line(target: int) -> Iterator[BadLine]:
    line = BadLine(target)
    thread = Thread(target=line.run, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.over.set()
        line.cut()
        thread.join()
