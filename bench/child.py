"""A child process at the other end of a pipe: it serves what it is asked until the block ends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

_SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def child(serve: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Our end of the pipe to `serve(pipe, *arguments)`. Once the child has died, reading from it raises `EOFError`."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # or its end would never come
    try:
        yield ours
    finally:
        process.terminate()
        process.join()
        ours.close()
