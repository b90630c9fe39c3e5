"""Amplification: what an attacker's byte and second cost the gateway, beside a stock server of the same frameworks.

Each attack of `bench.attacks` goes at a fresh gateway and at a fresh `bench.stock`, in the same run, from one
connection or a few. Memory: the most that the server and its children held during the first volley, over what they held
before, by bytes sent. CPU: seconds they used by second of attack, volleys repeated until the time is over. What the
kernel keeps for the server's connections is told besides: no process is charged with it.

Promise: the gateway grows by at most 4 bytes for a byte sent, and answers afterwards. Not counted: 2 MiB, a step of a
pool; 16 KiB for each open connection, of which anybody may have some; and the pixels of a picture within the limit,
which somebody may send whole. Exit code 1 if it is broken.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass

from bench.attacks import ATTACKS, MIB, Attack, Target, posted, resized
from bench.cores import all_cores
from bench.hostile import ask
from bench.memory import forget_peak, held, peak, queued
from bench.servers import Server, gateway, stock
from gateway.commands.table import table

SETTINGS = {"FRAMEGATE_ANALYSIS__DEFAULT": "[]"}
MOST = 4.0  # bytes of memory for a byte sent
FREE = 2 * MIB
A_CONNECTION = 16 * 1024
PIXELS = {"picture_at_the_limit": 3 * 5_760 * 5_760}  # bytes of the attack's picture, in colour
SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one attack on one server. Bytes of the first volley, CPU of all of them."""

    sent_bytes: int
    grown_bytes: int
    kernel_bytes: int
    connections: int
    cpu_per_s: float
    answers: bool

    @property
    def per_byte(self) -> float:
        return self.grown_bytes / max(1, self.sent_bytes)

    def kept(self, attack: str) -> bool:
        free = FREE + A_CONNECTION * self.connections + PIXELS.get(attack, 0)
        return self.answers and self.grown_bytes <= free + MOST * self.sent_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack on each server")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="ATTACK")
    chosen = parser.parse_args()
    seconds = chosen.seconds / 10 if chosen.quick else chosen.seconds
    found = {name: _both(ATTACKS[name], seconds) for name in chosen.attacks}
    return _report(found, seconds)


def _both(attack: Attack, seconds: float) -> dict[str, Cost]:
    sides: Mapping[str, Callable[[], AbstractContextManager[tuple[Server, Target]]]] = {
        "gateway": ours,
        "stock": theirs,
    }
    costs = {}
    for side, start in sides.items():
        with start() as (server, target):
            costs[side] = _measured(server, target, attack, seconds)
    return costs


@contextmanager
def ours() -> Iterator[tuple[Server, Target]]:
    """A gateway with a stream whose pictures are decoded, as the stock server decodes them."""
    with gateway(all_cores(), SETTINGS) as server:
        server.wait_for_analyzers(["motion"])
        stream = server.post("/stream/request", {"analyzers": ["motion"]})
        path = f"/stream/{stream['stream_id']}"
        target = Target(
            server.address, stream["websocket_url"], "/stream/request", f"{path}/frame?wait=1", f"{path}/frames"
        )
        yield server, target


@contextmanager
def theirs() -> Iterator[tuple[Server, Target]]:
    with stock(all_cores()) as server:
        yield server, Target(server.address, "/ws", "/json", "/picture", "/upload")


def _measured(server: Server, target: Target, attack: Attack, seconds: float) -> Cost:
    _warmed_up(target)
    before, cpu = held(server), server.whole_cpu_s()
    forget_peak(server)
    began = time.monotonic()
    with ExitStack() as sockets:
        sent = attack(target, seconds, sockets)
        time.sleep(SETTLE_S)
        grown, (there, waiting, unread) = peak(server) - before, queued(server.address)
        with suppress(OSError):  # it takes nobody any more; whether it answers is asked below
            while (left := began + seconds - time.monotonic()) > 0:
                attack(target, left, sockets)
        used = (server.whole_cpu_s() - cpu) / (time.monotonic() - began)
    return Cost(sent, max(0, grown), waiting + unread, there, used, _answers(server))


def _warmed_up(target: Target) -> None:
    """Once every way that attacks take, with something harmless."""
    posted(target, target.json, b"application/json", b"{}", 5.0)
    posted(target, target.picture, b"image/jpeg", resized(64, 48), 5.0)


def _answers(server: Server) -> bool:
    """Whether it still does, within 5 s."""
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        try:
            if ask(server.address, "GET", "/health")[0] == 200:
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _report(found: Mapping[str, Mapping[str, Cost]], seconds: float) -> int:
    rows = [_row(name, side, cost) for name, sides in found.items() for side, cost in sides.items()]
    print(f"amplification: {seconds:g} s of each attack on each server")
    print(table(["attack", "server", "sent KiB", "grown KiB", "kernel KiB", "a byte", "CPU s/s", "answers"], rows))
    broken = [_complaint(name, sides["gateway"]) for name, sides in found.items() if not sides["gateway"].kept(name)]
    for promise in broken:
        print(f"BROKEN: {promise}")
    line = {
        "bench": "amplification",
        "void": False,
        "seconds": seconds,
        "worst_bytes_per_byte": {side: _worst(found, side) for side in ("gateway", "stock")},
        "worst_cpu_per_s": {side: _worst_cpu(found, side) for side in ("gateway", "stock")},
        "attacks": {
            name: {side: {**asdict(cost), "per_byte": round(cost.per_byte, 3)} for side, cost in sides.items()}
            for name, sides in found.items()
        },
        "broken": broken,
    }
    print(json.dumps(line))
    return 1 if broken else 0


def _row(name: str, side: str, cost: Cost) -> list[str]:
    kib = [f"{number / 1024:,.0f}" for number in (cost.sent_bytes, cost.grown_bytes, cost.kernel_bytes)]
    return [
        name,
        side,
        *kib[:2],
        f"{cost.per_byte:.2f}",
        kib[2],
        f"{cost.cpu_per_s:.2f}",
        "yes" if cost.answers else "no",
    ]


def _complaint(name: str, cost: Cost) -> str:
    if not cost.answers:
        return f"{name}: the gateway answers no more"
    return f"{name}: {cost.per_byte:.1f} bytes for a byte sent, {cost.grown_bytes / MIB:.1f} MiB in all"


def _worst(found: Mapping[str, Mapping[str, Cost]], side: str) -> float:
    """Of attacks in which it grew, but for those with something free of their own."""
    return round(
        max((sides[side].per_byte for sides in found.values() if sides[side].grown_bytes > FREE), default=0), 3
    )


def _worst_cpu(found: Mapping[str, Mapping[str, Cost]], side: str) -> float:
    return round(max(sides[side].cpu_per_s for sides in found.values()), 3)


if __name__ == "__main__":
    raise SystemExit(main())
