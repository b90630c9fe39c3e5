"""Refusals: whom the gateway turned away and why. Counted by code; logged once in a while for each peer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

REMEMBERED = 4096  # events and peers; whoever comes with more addresses shares one line


class Seldom:
    """Lets the same thing about the same peer through once in `every_s`, and counts what it held back."""

    def __init__(self, every_s: float, *, clock: Callable[[], float]) -> None:
        self._every_s = every_s
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}
        self._forgot_at = float("-inf")

    def suppressed(self, event: str, peer: str) -> int | None:
        """How often it was held back since it was let through; None: hold it back now too."""
        now = self._clock()
        key = (event, peer)
        if key not in self._said and len(self._said) >= REMEMBERED:
            if now - self._forgot_at >= self._every_s:  # it goes through all of them
                self._forget(now)
            key = key if len(self._said) < REMEMBERED else (event, "many")
        said_at, held = self._said.get(key, (float("-inf"), 0))
        if now - said_at < self._every_s:
            self._said[key] = (said_at, held + 1)
            return None
        self._said[key] = (now, 0)
        return held

    def _forget(self, now: float) -> None:
        self._forgot_at = now
        self._said = {key: said for key, said in self._said.items() if now - said[0] < self._every_s}


class Refusals:
    """`counts` by code word, `closed` by WebSocket close code; words and numbers of ours, never of peers."""

    def __init__(self, repeat_s: float, *, clock: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self._seldom = Seldom(repeat_s, clock=clock)

    def note(self, code: str, peer: str, detail: str = "") -> None:
        """Count one; `detail` is for the log and holds nothing that a peer wrote."""
        self.counts[code] += 1
        held = self._seldom.suppressed(code, peer)
        if held is not None:
            log.info("refused %s: peer=%s suppressed=%d %s", code, peer, held, detail)

    def note_closed(self, code: int) -> None:
        """A WebSocket has ended with this close code, of whichever side."""
        known = 1000 <= code <= 1015 or 4400 <= code <= 4499
        self.closed[str(code) if known else "other"] += 1
