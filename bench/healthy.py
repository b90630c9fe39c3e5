"""A healthy session: a publisher with a steady pace and one viewer, and how long each picture takes between them."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field

from bench.servers import Address
from bench.websocket import BINARY, CLOSE, PING, PONG, Inbox, connect, packed
from gateway.protocol import pack_frame, unpack_frame

LOST_S = 5.0
LATE_S = 0.01  # a picture sent later than this after its time was late
MOST_LATE = 0.05  # of all; beyond it the machine was too busy to say anything


@dataclass(slots=True)
class Phase:
    """Seconds each picture took; how many were sent late, and how many did not arrive in time."""

    took_s: list[float] = field(default_factory=list)
    late: int = 0
    lost: int = 0

    def add(self, other: Phase) -> None:
        self.took_s += other.took_s
        self.late += other.late
        self.lost += other.lost

    @property
    def void(self) -> bool:
        return self.late > MOST_LATE * len(self.took_s)

    def quantile(self, share: float) -> float:
        """Of the times, in s; a lost picture took for ever."""
        times = sorted(self.took_s) + [float("inf")] * self.lost
        return times[min(len(times) - 1, int(share * len(times)))]


class Session:
    """Its two sockets."""

    def __init__(self, address: Address, path: str, jpeg: bytes, fps: float) -> None:
        self._publisher = connect(address, path)
        self._viewer = connect(address, f"{path}?frames=binary")
        self._inboxes = {self._publisher: Inbox(), self._viewer: Inbox()}
        self._jpeg, self._fps, self._seq = jpeg, fps, 0

    def run(self, seconds: float) -> Phase:
        """Raises `ConnectionError` when one of the two is closed: it did nothing wrong."""
        phase, due = Phase(), time.perf_counter()
        end = due + seconds
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            phase.late += time.perf_counter() > due + LATE_S
            took = self._carry()
            if took is None:
                phase.lost += 1
            else:
                phase.took_s.append(took)
            due = max(due + 1 / self._fps, time.perf_counter() - 1 / self._fps)
        return phase

    def _carry(self) -> float | None:
        """One picture."""
        self._seq += 1
        message = packed(BINARY, pack_frame(self._jpeg, self._seq))
        sent = time.perf_counter()
        self._publisher.sendall(message)
        while (left := sent + LOST_S - time.perf_counter()) > 0:
            for client in select.select(list(self._inboxes), [], [], left)[0]:
                if self._has_arrived(client):
                    return time.perf_counter() - sent
        return None

    def _has_arrived(self, client: socket.socket) -> bool:
        data = client.recv(2**20)
        if not data:
            raise ConnectionError("the server closed a healthy client")
        inbox, arrived = self._inboxes[client], False
        inbox.feed(data)
        while (message := inbox.take()) is not None:
            opcode, payload = message
            if opcode == CLOSE:
                raise ConnectionError(f"the server closed a healthy client: {payload!r}")
            if opcode == PING:
                client.sendall(packed(PONG, payload))
            elif opcode == BINARY and client is self._viewer:
                arrived = arrived or unpack_frame(payload)[0] == self._seq
        return arrived

    def close(self) -> None:
        for client in self._inboxes:
            client.close()
