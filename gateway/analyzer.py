"""Analyzer: what an author subclasses to turn frames into results.

The host owns threads, turns, deadlines and sessions. An analyzer holds its model and nothing else; what it remembers
of one session lives in the memory that `open()` returned and that the host hands back with each frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from gateway.errors import UnknownOption
from gateway.frame import Frame
from gateway.geometry import Shape
from gateway.results import Result
from gateway.version import PLUGIN_API

PERMISSIONS = frozenset({"network", "files"})

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}(\.[a-z0-9_-]{1,48})?")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The part of a session that an analyzer may see.

    `options` is this analyzer's `Options`: what the operator set, changed by what this session asked for. `zones` are
    the zones and lines drawn for it; where a detection is, the host says (`Detection.zones`).
    """

    stream_id: str
    camera_id: str | None = None
    name: str = ""
    options: Any = None
    zones: tuple[Shape, ...] = ()


@dataclass(frozen=True)
class NoOptions:
    """For analyzers that have nothing to set."""


class Analyzer:
    """Turns frames into results; one object per worker, called by one thread at a time.

    Class attributes an author sets: `name` (lower case, `plugin.name` for strangers' if they like), `needs` (names of
    analyzers whose results for the same frame this one reads from `frame.results`), `wants` (those whose results it
    reads if the session has them anyway and they come on its way; it runs without them), `labels` (what its
    detections may be called), `event_types`, `Options` (a dataclass; the operator's settings fill it, wrong types and
    unknown keys are refused), `load_options` (those of them that are read when the model is loaded, so that a session
    cannot change them), `permissions` (of "network" and "files", what a confined worker must be allowed; the operator
    approves), and `api`, the versions of this contract it is written for. `pixels = False` says that it never decodes
    the frame.

    Two more may be set by `__init__`, once it knows its model: `side`, the longer side in px it looks at (None: the
    whole picture), which lets the host decode smaller; and `batch`, how many frames of different sessions
    `analyze_batch` gains from taking at once (1: none, though the operator may ask for more; 0: it takes one only).
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    title: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    wants: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[tuple[str, ...]] = ()
    event_types: ClassVar[tuple[str, ...]] = ()
    load_options: ClassVar[tuple[str, ...]] = ()
    permissions: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[str] = ">=1,<2"
    pixels: ClassVar[bool] = True
    side: int | None = None
    batch: int = 1
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any) -> None:
        """Load the model. Runs in the worker, once, off the frame path; raising marks the analyzer failed."""
        self.options = options

    @classmethod
    def missing(cls, options: Any) -> str | None:
        """What this analyzer lacks to run here (weights, say), as one line with the remedy; None if nothing."""
        return None

    @classmethod
    def weights(cls, options: Any) -> Sequence[Path]:
        """The model files that `__init__` will read, as far as the host is to vouch for them.

        Before it has the model loaded the host compares those it knows with their published SHA-256, and tells of all.
        """
        return ()

    def open(self, session: SessionInfo) -> Any:
        """Begin a session; the returned memory comes back with each of its frames. A new dict by default."""
        return {}

    def analyze(self, frame: Frame, memory: Any) -> Result:
        """Look at one frame. Frames of one session come in order, with gaps."""
        raise NotImplementedError

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[Any]) -> Sequence[Result]:
        """Look at frames of different sessions at once, each with its memory; one result per frame, in order.

        Worth defining where the model runs several pictures faster than one after the other. If it raises, the host
        asks `analyze` about each frame alone, so it must not have changed a memory by then.
        """
        return [self.analyze(frame, memory) for frame, memory in zip(frames, memories, strict=True)]

    def configure(self, session: SessionInfo, memory: Any) -> Any:
        """A session's options have changed while it runs; the memory to go on with. By default it begins anew.

        An analyzer that defines this hears of changed zones too; others keep their memory over those.
        """
        return self.open(session)

    def close(self) -> None:
        """Release the model, after the last frame. A worker process that ends just ends: keep nothing to be saved."""


def check_analyzer(cls: type[Analyzer]) -> None:
    """Refuse a class that breaks the contract, saying which part. Raises `TypeError`."""
    name = getattr(cls, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise TypeError(f"{cls.__qualname__}.name must be lower-case letters, digits, - and _, got {name!r}")
    if not fits_api(cls.api):
        raise TypeError(f"analyzer {name} is written for plugin API {cls.api}, this is {PLUGIN_API}")
    for part in ("needs", "wants", "labels", "event_types", "load_options", "permissions"):
        if isinstance(value := getattr(cls, part), str):  # ("objects") is no tuple
            raise TypeError(f"analyzer {name}: {part} must be a tuple of names, got {value!r}")
    if strange := set(cls.permissions) - PERMISSIONS:
        raise TypeError(
            f"analyzer {name}: there is no permission {min(strange)}; there are {', '.join(sorted(PERMISSIONS))}"
        )
    if cls.analyze is Analyzer.analyze:
        raise TypeError(f"analyzer {name}: {cls.__qualname__} does not define analyze(frame, memory)")
    if not (isinstance(cls.Options, type) and is_dataclass(cls.Options)):
        raise TypeError(f"analyzer {name}: Options must be a dataclass, got {cls.Options!r}")
    if required := [f.name for f in fields(cls.Options) if f.default is MISSING and f.default_factory is MISSING]:
        raise TypeError(f"analyzer {name}: option {required[0]} has no default; every option needs one")


def fits_api(versions: str) -> bool:
    """Whether `PLUGIN_API` is among these versions (PEP 440, such as ">=1,<2"). Raises `TypeError` for nonsense."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(versions).contains(PLUGIN_API)
    except InvalidSpecifier:
        raise TypeError(f"api must be a version range such as >=1,<2, got {versions!r}") from None


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
