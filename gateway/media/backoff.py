"""Back-off: how long to wait before the next attempt at a source. Pure: chance is injected."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.media.errors import Code

FIRST_S = 1.0
SPREAD = 0.5  # a pause is this share longer or shorter, so that cameras behind one switch do not come back as one
WELL_S = 10.0  # who was online for so long begins anew


class Backoff:
    """1, 2, 4 ... `most_s` seconds, each ± 50 %; after a refused credential never less than `auth_s`.

    A camera locks out who tries a wrong password often, and the operator with it.
    """

    def __init__(self, most_s: float, auth_s: float, *, chance: Callable[[], float] = random.random) -> None:
        self._most_s = most_s
        self._auth_s = auth_s
        self._chance = chance
        self._next_s = FIRST_S

    def after(self, code: Code, online_s: float = 0.0) -> float:
        """Seconds to wait after an attempt that failed so, having been online for a while before."""
        if online_s >= WELL_S:
            self._next_s = FIRST_S
        pause, self._next_s = self._next_s, min(self._most_s, 2 * self._next_s)
        spread = min(self._most_s, pause) * (1 - SPREAD + 2 * SPREAD * self._chance())
        if code == "auth":
            return self._auth_s * (1 + SPREAD * self._chance())
        return min(self._most_s, spread)
