"""Plugged: sources that plugins read. The plugin opens and yields; attempts, pace, size and encoding are ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cache
from threading import Lock
from traceback import format_exception
from typing import Any, get_args

import numpy as np

from gateway.connector import Capture, Connector, SourceFailed
from gateway.engine.plugins import PluginSpec, denied, load
from gateway.media.encode import encoded, resized
from gateway.media.errors import Code, SourceError
from gateway.media.messages import MAX_CAPTURED_S, Setup
from gateway.media.pace import Pace
from gateway.media.pictures import Picture, Reader, still
from gateway.media.sources import Source

log = logging.getLogger(__name__)

IMPORT_S = 60.0
MOST_WORDS = 300  # characters of what a plugin says
SHORTEST = 4  # characters of an address, or of a part of one, that are blanked in tracebacks

_importing = Lock()


def plugged(source: Source, setup: Setup, reader: Reader) -> Generator[Picture | None, None, None]:
    """A connector's pictures in one attempt, at the pace that is wished. Raises `SourceError`."""
    reader.expect(IMPORT_S)
    cls, demand = _class(source.connector, setup.plugins), _Demand(setup, reader)
    pace = Pace(reader.wish)
    reader.time.begin_anew()
    for capture in _captures(cls, source.path, demand):
        at = reader.time.at(None, time.monotonic())
        pace.wish = reader.wish
        if capture is None:
            yield None
            continue
        pace.packet(at, keyframe=True)
        reader.tally.packets += 1
        reader.tally.fps = pace.fps
        if pace.picture(at):
            yield _picture(capture, at, _captured(capture), setup, reader)
        else:
            yield None


def _captured(capture: Capture) -> float:
    """Epoch s. Raises `SourceError` for what is none."""
    said: Any = capture.captured
    if said is None:
        return time.time()
    if not (isinstance(said, int | float | np.integer | np.floating) and 0 <= said < MAX_CAPTURED_S):
        raise SourceError("connector", "the connector gave a time of capture that is not seconds since 1970")
    return float(said)


def _picture(capture: Capture, at: float, captured: float, setup: Setup, reader: Reader) -> Picture:
    """Raises `SourceError` for what is no picture."""
    if isinstance(capture.image, bytes):
        return still(capture.image, at, captured, reader, setup)
    pixels: Any = capture.image
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3):
        raise SourceError("connector", "the connector gave what is neither JPEG nor BGR pixels")
    if not 0 < pixels.shape[0] * pixels.shape[1] <= setup.max_pixels:
        raise SourceError("codec", f"its pictures are {pixels.shape[1]}x{pixels.shape[0]} px")
    pixels = resized(pixels, reader.wish.side)
    reader.tally.encoded += 1
    return Picture(encoded(pixels, setup.quality), pixels.shape[1], pixels.shape[0], at, True, captured, "pixels")


# --- foreign code ----------------------------------------------------------------------------------------------------


class _Demand:
    """What a connector may ask. Between its pictures it has as long as a camera has."""

    def __init__(self, setup: Setup, reader: Reader) -> None:
        self._patience_s = setup.read_s + setup.no_frame_s
        self._reader = reader
        self.go_on()

    @property
    def fps(self) -> float:
        return self._reader.wish.fps

    @property
    def side(self) -> int:
        return self._reader.wish.side

    @property
    def wanted(self) -> bool:
        return self._reader.wish.wanted

    def wait(self, seconds: float) -> bool:
        goes_on = self._reader.rest(seconds)
        self.go_on()
        return goes_on

    def expect(self, seconds: float) -> None:
        self._reader.expect(max(0.0, float(seconds)))

    def go_on(self) -> None:
        self._reader.expect(self._patience_s)


def _captures(cls: type[Connector], address: str, demand: _Demand) -> Iterator[Capture | None]:
    """What it yields; whatever it raises is a `SourceError`."""
    captures: Any = None
    try:
        demand.go_on()
        captures = iter(cls(address).captures(demand))
        while True:
            demand.go_on()
            capture = next(captures, _END)
            if capture is _END:
                return
            yield _checked(capture)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code
        raise _told(cls.scheme, address, error) from None
    finally:
        with suppress(Exception):
            if captures is not None:
                captures.close()


_END = object()


def _checked(capture: Any) -> Capture | None:
    if not (capture is None or isinstance(capture, Capture)):
        raise TypeError(f"captures() yields Capture or None, got {type(capture).__name__}")
    return capture


def _told(scheme: str, address: str, error: BaseException) -> SourceError:
    """What a connector raised, in a word of ours. Its own words are for the log, unless it meant them to be told."""
    if isinstance(error, SourceFailed):
        code: Code = error.code if error.code in get_args(Code) else "connector"  # type: ignore[assignment]
        return SourceError(code, str(error.detail)[:MOST_WORDS])
    log.warning("connector %s: failed\n%s", scheme, _blanked("".join(format_exception(error)), address))
    if isinstance(error, ConnectionRefusedError):
        return SourceError("refused", "nobody listens there")
    if isinstance(error, TimeoutError):
        return SourceError("timeout", "the source says nothing within its deadline")
    return SourceError("connector", f"the connector raised {type(error).__name__}; the log says where")


def _blanked(words: str, address: str) -> str:
    """Without the address and what in it may be a password, as libraries quote them."""
    place = address.partition("//")[2] or address
    user = place.rpartition("@")[0]
    path = place.rpartition("@")[2].partition("/")[2]
    parts = {address, user, user.partition(":")[2], path, path.partition("?")[2]}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST:
            words = words.replace(part, "***")
    return words


def _class(scheme: str, plugins: tuple[PluginSpec, ...]) -> type[Connector]:
    """Raises `SourceError` where it cannot run here."""
    with _importing:
        found = _loaded(plugins).get(scheme)
    if found is None:
        raise SourceError("connector", f"the plugin of {scheme}: does not load, or no longer has it")
    if reason := denied(*found):
        raise SourceError("connector", reason)
    return found[0]


@cache
def _loaded(plugins: tuple[PluginSpec, ...]) -> dict[str, tuple[type[Connector], PluginSpec]]:
    return load(plugins).connectors
