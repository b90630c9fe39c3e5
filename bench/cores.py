"""Which cores the servers run on, and which the load: apart, so that a server is measured and not its neighbour."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

Cores = frozenset[int]


def all_cores() -> Cores:
    return frozenset(os.sched_getaffinity(0))


def split() -> tuple[Cores, Cores]:
    """One core for the server, which uses no more, and the others for the load; the same one if there is only one."""
    first, *others = sorted(all_cores())
    return frozenset({first}), frozenset(others or {first})


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """Run on these cores; processes started meanwhile stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
