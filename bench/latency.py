"""How long a picture takes from its publisher to a viewer, beside a bare relay: 30 pictures a second, 1 and 20 viewers.

The two servers get their pictures in turns, one every sixtieth of a second, so what disturbs the machine disturbs both.
A sample is the time from before a picture is sent until one viewer has all of it; `_ratio` is of the medians.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from bench import picture
from bench.comparison import options
from bench.cores import pinned, split
from bench.servers import Address, Server, bare, gateway
from bench.websocket import BINARY, PING, PONG, Inbox, connect, packed
from gateway.commands.table import table
from gateway.protocol import pack_frame, unpack_frame

VIEWERS = (1, 20)
FPS = 30
LOST_S = 2.0
HEAD = ["viewers", "side", "p50 ms", "p95 ms", "p99 ms", "p50 min", "p50 max", "samples"]

Rounds = list[list[float]]  # of each round, the samples in s


class Line:
    """A publisher and its viewers on one server. `carry()` sends one picture and sees it arrive everywhere."""

    def __init__(self, address: Address, publish: str, view: str, viewers: int, jpeg: bytes) -> None:
        self._publisher = connect(address, publish)
        self._viewers = [connect(address, view) for _ in range(viewers)]
        self._inboxes = {client: Inbox() for client in (self._publisher, *self._viewers)}
        self._poll = selectors.EpollSelector()
        for client in self._inboxes:
            self._poll.register(client, selectors.EVENT_READ)
        self._jpeg = jpeg
        self._seq = 0

    def carry(self) -> list[float]:
        """Seconds until each viewer had it. Raises `TimeoutError` when one did not get it."""
        self._seq += 1
        message = packed(BINARY, pack_frame(self._jpeg, self._seq))
        took: list[float] = []
        sent = time.perf_counter()
        self._publisher.sendall(message)
        while len(took) < len(self._viewers):
            ready = self._poll.select(LOST_S)
            if not ready:
                raise TimeoutError(f"picture {self._seq} reached {len(took)} of {len(self._viewers)} viewers")
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                if self._has_arrived(key.fileobj):
                    took.append(time.perf_counter() - sent)
        return took

    def _has_arrived(self, client: socket.socket) -> bool:
        """Read what is there for a client; whether that completed the picture in question."""
        inbox, arrived = self._inboxes[client], False
        inbox.feed(client.recv(2**20))
        while (message := inbox.take()) is not None:
            opcode, payload = message
            if opcode == PING:
                client.sendall(packed(PONG, payload))
            elif opcode == BINARY:
                arrived = unpack_frame(payload)[0] == self._seq
        return arrived

    def close(self) -> None:
        for client in self._inboxes:
            client.close()
        self._poll.close()


def main() -> int:
    chosen = options(__doc__, seconds=6.0, rounds=5)
    server_cores, load_cores = split()
    jpeg = picture.jpeg()
    print(
        f"latency: {len(jpeg)} B JPEG at {FPS} fps, {chosen.rounds} rounds of {chosen.seconds} s per number of viewers"
    )
    with gateway(server_cores) as ours, bare("relay", server_cores) as plain, pinned(load_cores):
        found = {viewers: _measure(ours, plain, viewers, jpeg, chosen.rounds, chosen.seconds) for viewers in VIEWERS}
    rows = [_row(viewers, side, rounds) for viewers, sides in found.items() for side, rounds in sides.items()]
    print(table(HEAD, rows))
    print(json.dumps(_line(found, len(jpeg))))
    return 0


def _measure(ours: Server, plain: Server, viewers: int, jpeg: bytes, rounds: int, seconds: float) -> dict[str, Rounds]:
    stream = ours.post("/stream/request", {"analyzers": []})["websocket_url"]
    lines = {
        "gateway": Line(ours.address, stream, f"{stream}?frames=binary", viewers, jpeg),
        "plain": Line(plain.address, "/", "/", viewers, jpeg),
    }
    found: dict[str, Rounds] = {side: [] for side in lines}
    for number in range(rounds + 1):
        samples = _round(list(lines.values()), seconds if number else 1.0)
        if number:  # the first one warmed up
            for side, taken in zip(lines, samples, strict=True):
                found[side].append(taken)
    for line in lines.values():
        line.close()
    return found


def _round(lines: Sequence[Line], seconds: float) -> Rounds:
    """For each line its samples, over some seconds."""
    samples: Rounds = [[] for _ in lines]
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        for line, taken in zip(lines, samples, strict=True):
            time.sleep(max(0.0, due - time.perf_counter()))
            taken += line.carry()
            due += 1 / FPS / len(lines)
    return samples


def _row(viewers: int, side: str, rounds: Rounds) -> list[object]:
    medians = [median(samples) for samples in rounds]
    p50, p95, p99 = _percentiles(rounds)
    shown = [_ms(value) for value in (p50, p95, p99, min(medians), max(medians))]
    return [viewers, side, *shown, sum(map(len, rounds))]


def _percentiles(rounds: Rounds) -> tuple[float, float, float]:
    cuts = quantiles([sample for samples in rounds for sample in samples], n=100)
    return cuts[49], cuts[94], cuts[98]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def _line(found: Mapping[int, Mapping[str, Rounds]], jpeg_bytes: int) -> dict[str, Any]:
    line: dict[str, Any] = {"bench": "latency", "unit": "ms", "void": False, "jpeg_bytes": jpeg_bytes}
    for viewers, sides in found.items():
        pairs = zip(sides["plain"], sides["gateway"], strict=True)
        line[f"latency_{viewers}_ratio"] = round(median(median(plain) / median(ours) for plain, ours in pairs), 3)
        line[f"latency_{viewers}"] = {
            side: dict(
                zip(("p50", "p95", "p99"), (round(value * 1e3, 3) for value in _percentiles(rounds)), strict=True)
            )
            for side, rounds in sides.items()
        }
    return line


if __name__ == "__main__":
    raise SystemExit(main())
