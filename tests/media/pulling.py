"""A media pool in this process with real children, and what a test wants to know of the sources it pulls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.engine.plugins import discover
from gateway.media.messages import Packets, Shot, Told, Wish
from gateway.media.pool import MediaPool
from gateway.media.sources import Source, parse
from gateway.media.worker import Feed
from gateway.settings import Settings

PATIENCE_S = 30.0  # two cores, and other tests on them


@dataclass
class Watcher:
    """Pulls one source and keeps what it hears of it."""

    fps: float = 15.0
    side: int = 1920
    wanted: bool = True
    coded: bool = False
    tolds: list[Told] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    jpegs: list[bytes] = field(default_factory=list)
    parcels: list[tuple[Packets, bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False

    def picture(self, shot: Shot, jpeg: bytes) -> None:
        self.shots.append(shot)
        self.jpegs.append(jpeg)
        self.changed.set()

    def packets(self, packets: Packets, data: bytes) -> None:
        self.parcels.append((packets, data))
        self.changed.set()

    def told(self, told: Told) -> None:
        self.tolds.append(told)
        self.changed.set()

    def wish(self, number: int) -> Wish | None:
        return None if self.gone else Wish(number, self.fps, self.side, wanted=self.wanted, packets=self.coded)

    @property
    def states(self) -> list[str]:
        return [told.state for told in self.tolds]

    @property
    def codes(self) -> list[str | None]:
        return [told.code for told in self.tolds if told.code]

    async def until(self, condition: Callable[[], Any], within_s: float = PATIENCE_S) -> None:
        """Wait for something to be so."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"still not so after {within_s:g} s: {self.tolds[-5:]}, {len(self.shots)}") from None

    async def pictures(self, count: int, within_s: float = PATIENCE_S) -> None:
        """Wait for so many more."""
        most = len(self.shots) + count
        await self.until(lambda: len(self.shots) >= most, within_s)


def settings(home: Path, *ports: int, **media: Any) -> Settings:
    """A gateway's settings under which servers at these ports of this machine may be pulled from."""
    endpoints = [f"127.0.0.1:{port}" for port in ports]
    short = {"open_s": 2.0, "read_s": 2.0, "no_frame_s": 4.0, "ping_s": 1.0}
    return Settings(home=home, media={**short, "endpoints": endpoints, **media})


@asynccontextmanager
async def pool(home: Path, *ports: int, **media: Any) -> AsyncIterator[MediaPool]:
    demo = {"demo": [spec for spec in discover() if spec.name == "demo"]}  # looking for them takes a while
    async with MediaPool(settings(home, *ports, **media)).running() as running:
        running.connectors = lambda: demo
        yield running


def pull(pool: MediaPool, source: str | Source, **how: Any) -> tuple[Feed, Watcher]:
    watcher = Watcher(**how)
    return pool.open(parse(source) if isinstance(source, str) else source, watcher), watcher


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
