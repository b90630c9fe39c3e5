"""Analyzer: what an author subclasses to turn frames into results.

The host owns threads, turns, deadlines and sessions. An analyzer holds its model and nothing else; what it remembers
of one session lives in the memory that `open()` returned and that the host hands back with each frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, ClassVar

from gateway.errors import UnknownOption
from gateway.frame import Frame
from gateway.results import Result

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}(\.[a-z0-9_-]{1,48})?")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The part of a session that an analyzer may see.

    `options` is this analyzer's `Options`: what the operator set, changed by what this session asked for.
    """

    stream_id: str
    camera_id: str | None = None
    name: str = ""
    options: Any = None


@dataclass(frozen=True)
class NoOptions:
    """For analyzers that have nothing to set."""


class Analyzer:
    """Turns frames into results; one object per worker, called by one thread at a time.

    Class attributes an author sets: `name` (lower case, `plugin.name` for strangers' if they like), `needs` (names of
    analyzers whose results for the same frame this one reads from `frame.results`), `labels` (what its detections may
    be called), `event_types`, `Options` (a dataclass; the operator's settings fill it, wrong types and unknown keys
    are refused), `load_options` (those of them that are read when the model is loaded, so that a session cannot change
    them), and `pixels = False` if it never decodes the frame.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    title: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[tuple[str, ...]] = ()
    event_types: ClassVar[tuple[str, ...]] = ()
    load_options: ClassVar[tuple[str, ...]] = ()
    pixels: ClassVar[bool] = True
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any) -> None:
        """Load the model. Runs in the worker, once, off the frame path; raising marks the analyzer failed."""
        self.options = options

    @classmethod
    def missing(cls, options: Any) -> str | None:
        """What this analyzer lacks to run here (weights, say), as one line with the remedy; None if nothing."""
        return None

    def open(self, session: SessionInfo) -> Any:
        """Begin a session; the returned memory comes back with each of its frames. A new dict by default."""
        return {}

    def analyze(self, frame: Frame, memory: Any) -> Result:
        """Look at one frame. Frames of one session come in order, with gaps."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the model, after the last frame. A worker process that ends just ends: keep nothing to be saved."""


def check_analyzer(cls: type[Analyzer]) -> None:
    """Refuse a class that breaks the contract, saying which part. Raises `TypeError`."""
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise TypeError(f"{cls.__qualname__}.name must be lower-case letters, digits, - and _, got {name!r}")
    for part in ("needs", "labels", "event_types", "load_options"):
        if isinstance(value := getattr(cls, part), str):  # ("objects") is no tuple
            raise TypeError(f"analyzer {name}: {part} must be a tuple of names, got {value!r}")
    if cls.analyze is Analyzer.analyze:
        raise TypeError(f"analyzer {name}: {cls.__qualname__} does not define analyze(frame, memory)")
    if not (isinstance(cls.Options, type) and is_dataclass(cls.Options)):
        raise TypeError(f"analyzer {name}: Options must be a dataclass, got {cls.Options!r}")
    if required := [f.name for f in fields(cls.Options) if f.default is MISSING and f.default_factory is MISSING]:
        raise TypeError(f"analyzer {name}: option {required[0]} has no default; every option needs one")


def fill_options(cls: type[Analyzer], values: Mapping[str, Any]) -> Any:
    """Make `cls.Options` from plain values, types checked and converted by pydantic.

    Raises `UnknownOption` naming the nearest right key, or the field whose value does not fit.
    """
    from difflib import get_close_matches

    from pydantic import TypeAdapter, ValidationError

    known = [f.name for f in fields(cls.Options)]
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known) or 'no options'}"
            raise UnknownOption(f"analyzer {cls.name} has no option {key}{hint}")
    try:
        return TypeAdapter(cls.Options).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # refused by the dataclass itself, in its own words
            raise UnknownOption(f"analyzer {cls.name}: {first['msg'].removeprefix('Value error, ')}") from None
        place = ".".join(map(str, first["loc"]))
        raise UnknownOption(f"analyzer {cls.name}, option {place}: {first['msg']}, got {first['input']!r}") from None


def options_schema(cls: type[Analyzer]) -> dict[str, Any]:
    """JSON schema of the options, with defaults, for forms and docs."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls.Options).json_schema()
