"""Attackers in a process of their own: they send a stretch of the corpus at a steady pace, and tally how it ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from json import loads
from multiprocessing.connection import Connection

from bench import corpus
from bench.child import child
from bench.corpus import Message
from bench.documented import Documented
from bench.hostile import EOF, SILENT, Outcome, Peer, StreamGone, ask
from bench.servers import Address

PEERS = 12
NICE = 10  # the healthy session's clients come first on the cores that they share
ANY_CLOSE = 1005  # what a close without a code is answered with


@dataclass(frozen=True, slots=True)
class Stretch:
    """Messages `first` to `first + number` of the corpus, so many a second."""

    seed: int
    first: int
    number: int
    rate: float


@dataclass(slots=True)
class Tally:
    """How messages ended by family, what was not as documented (with how often, and the first one's bytes), and the
    digest of what was sent."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    digest: int = 0
    refused: int = 0
    sent: int = 0
    seconds: float = 0.0

    def take(self, index: int, message: Message, outcome: Outcome, rules: Documented) -> None:
        self.sent += 1
        self.digest ^= corpus.digest(index, message.data)
        self.ends[message.family, str(outcome.end)] += 1
        self.answers.update(f"{status} {code}".strip() if status else code for status, code in outcome.answers)
        for reason in complaints(message, outcome, rules):
            self.complain(reason, index, message.data[:120].hex())

    def refuse(self, index: int, outcome: Outcome, rules: Documented) -> None:
        """An upgrade that was refused before the message could be sent."""
        self.refused += 1
        if not outcome.answers:
            self.complain("an upgrade was refused without a word", index, "")
        for status, code in outcome.answers:
            if not rules.allows(status, code):
                self.complain(f"{status} `{code}` is not documented", index, "")

    def complain(self, reason: str, index: int, start: str, times: int = 1) -> None:
        known, first, shown = self.wrong.get(reason, (0, index, start))
        self.wrong[reason] = (known + times, first, shown)

    def add(self, other: Tally) -> None:
        self.ends += other.ends
        self.answers += other.answers
        self.digest ^= other.digest
        self.refused += other.refused
        self.sent += other.sent
        self.seconds += other.seconds
        for reason, (times, index, start) in other.wrong.items():
            self.complain(reason, index, start, times)


def complaints(message: Message, outcome: Outcome, rules: Documented) -> Iterator[str]:
    """What of an outcome is not documented, in words without numbers of its own. A reset line is no code."""
    for status, code in outcome.answers:
        if not status and code not in rules.errors:
            yield f"error `{code}` is not documented"
        elif status and not rules.allows(status, code):
            yield f"{status} `{code}` is not documented"
    if outcome.end == SILENT:
        yield f"{message.family}, {message.kind}: neither answered nor closed"
    elif isinstance(outcome.end, int) and outcome.end not in rules.closes | {ANY_CLOSE}:
        yield f"close code {outcome.end} is not documented"
    elif outcome.end == EOF and message.whole and not any(status for status, _ in outcome.answers):
        yield f"{message.family}, {message.kind}: closed without a word"


class Attackers:
    """The process, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def begin(self, stretch: Stretch) -> None:
        self._pipe.send(stretch)

    def done(self) -> bool:
        return self._pipe.poll()

    def end(self) -> Tally:
        """Wait for the end. Raises what ended it early."""
        tally: Tally | Exception = self._pipe.recv()
        if isinstance(tally, Exception):
            raise tally
        return tally


@contextmanager
def attackers(address: Address, rules: Documented) -> Iterator[Attackers]:
    """The process, idle between stretches."""
    with child(_serve, address, rules) as pipe:
        yield Attackers(pipe)


def _serve(pipe: Connection, address: Address, rules: Documented) -> None:
    os.nice(NICE)
    while True:
        stretch: Stretch = pipe.recv()
        try:
            pipe.send(asyncio.run(_attack(address, rules, stretch)))
        except Exception as error:  # noqa: BLE001 - it belongs to who waits for the tally
            pipe.send(error)


async def _attack(address: Address, rules: Documented, stretch: Stretch) -> Tally:
    tally, began, numbers = Tally(), time.perf_counter(), count()
    await asyncio.gather(
        *(_one(address, rules, stretch, f"127.0.1.{peer + 1}", began, numbers, tally) for peer in range(PEERS))
    )
    tally.seconds = time.perf_counter() - began
    return tally


async def _one(
    address: Address,
    rules: Documented,
    stretch: Stretch,
    source: str,
    began: float,
    numbers: Iterator[int],
    tally: Tally,
) -> None:
    """One peer: takes the next message when its time has come, until there is none."""
    peer = Peer(address, new_stream(address), source)
    while (number := next(numbers)) < stretch.number:
        await asyncio.sleep(max(0.0, began + number / stretch.rate - time.perf_counter()))
        index = stretch.first + number
        message = corpus.message(stretch.seed, index)
        try:
            outcome = await peer.send(message)
        except StreamGone as gone:  # a message ended it, or nobody was on it for too long; it is sent on another one
            tally.refuse(index, gone.outcome, rules)
            peer = Peer(address, new_stream(address), source)
            outcome = await _sent(peer, message)
        tally.take(index, message, outcome, rules)
    await peer.close()


async def _sent(peer: Peer, message: Message) -> Outcome:
    try:
        return await peer.send(message)
    except StreamGone as gone:  # a stream that has just been made: this one is the message's own
        return gone.outcome


def new_stream(address: Address) -> str:
    """The path of the socket of a stream with an analyzer that reads pixels."""
    status, answer = ask(address, "POST", "/stream/request", '{"analyzers": ["motion"]}')
    if status != 200:
        raise ConnectionError(f"no stream: {status} {answer[:200]!r}")
    return str(loads(answer)["websocket_url"])
