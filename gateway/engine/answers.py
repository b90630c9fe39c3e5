"""Answers: for who wants the results of one particular frame, such as `POST frame?wait=1`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class Answer:
    """What each analyzer made of one frame: its result, or its state and why it did not look."""

    def __init__(self, names: Iterable[str]) -> None:
        self.analyzers: dict[str, Any] = {}
        self._waiting = set(names)
        self._complete = asyncio.Event()
        if not self._waiting:
            self._complete.set()

    def settle(self, name: str, outcome: dict[str, Any]) -> None:
        self.analyzers[name] = outcome
        self._waiting.discard(name)
        if not self._waiting:
            self._complete.set()

    def give_up(self) -> None:
        """Nothing more will come."""
        self._complete.set()

    async def complete(self, timeout_s: float) -> bool:
        """Wait until every analyzer has settled; False if that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete.wait()
        except TimeoutError:
            return False
        return True


class Answers:
    """The answers somebody waits for, by frame. Nothing is kept for anybody else."""

    def __init__(self) -> None:
        self._expected: dict[int, Answer] = {}

    @contextmanager
    def expect(self, seq: int, names: Iterable[str]) -> Iterator[Answer]:
        answer = self._expected[seq] = Answer(names)
        try:
            yield answer
        finally:
            self._expected.pop(seq, None)

    def close(self) -> None:
        """The session is over."""
        for answer in self._expected.values():
            answer.give_up()

    def settle(self, seq: int, name: str, outcome: dict[str, Any]) -> None:
        if answer := self._expected.get(seq):
            answer.settle(name, outcome)
