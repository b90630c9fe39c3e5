"""Subject: the analyzer under examination, in the child process; every call announced, every outcome told apart."""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway.analyzer import Analyzer, SessionInfo
from gateway.convert import to_result
from gateway.engine.host import own_options
from gateway.engine.plugins import PluginSpec, load
from gateway.frame import Frame
from gateway.results import Result, result_to_json
from gateway.testing.material import Material, Moment

Kind = Literal["result", "unclean", "writes", "raised"]

OWN = tuple(f"{os.sep}gateway{os.sep}{name}.py" for name in ("results", "convert"))  # where results are checked


class Refused(Exception):
    """The rule is broken; one line saying how."""


class Unjudged(Exception):
    """The rule cannot be judged, or does not apply; one line saying why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call came to: a result, or how it failed.

    `unclean` is a result that may not go on the wire, `writes` an attempt to write to a shared picture.
    """

    kind: Kind
    text: str = ""
    result: Any = None

    @property
    def comparable(self) -> Any:
        """Equal for equal outcomes; addresses in messages are not compared."""
        return (
            result_to_json(self.result) if isinstance(self.result, Result) else re.sub(r"0x[0-9a-f]+", "0x", self.text)
        )


class Announcer:
    """Tells the parent what is about to be called, so that it knows what hung or crashed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def begin(self, what: str) -> None:
        self._write(b">" + what.encode(errors="replace").replace(b"\n", b" ")[:200])

    def finish(self, answer: Mapping[str, Any]) -> None:
        self._write(json.dumps(answer).encode())

    def _write(self, line: bytes) -> None:
        line += b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]


@dataclass(slots=True)
class Subject:
    """One analyzer class and what it is examined with."""

    spec: PluginSpec
    name: str
    settings: Mapping[str, Any]
    material: Material
    announcer: Announcer
    cls: type[Analyzer] = field(init=False)

    @classmethod
    def of(cls, task: Mapping[str, Any], announcer: Announcer) -> Subject:
        needs = {name: tuple(labels) for name, labels in task["needs"].items()}
        material = Material(Path(task["folder"]), needs)
        return cls(PluginSpec(**task["plugin"]), task["analyzer"], task["options"], material, announcer)

    def load(self) -> type[Analyzer]:
        """Import the plugin. Raises `Unjudged` if it does not load."""
        self.announcer.begin("import")
        loaded = load([self.spec])
        if self.name not in loaded.analyzers:
            reason = loaded.failed.get(self.spec.name, f"there is no analyzer {self.name} in it")
            raise Unjudged(f"does not load: {reason.strip().rpartition(chr(10))[2]}")
        self.cls = loaded.analyzers[self.name][0]
        return self.cls

    def options(self) -> Any:
        return own_options(self.cls, self.settings)

    def make(self) -> Analyzer:
        """A new object of it. Raises `Unjudged` if it cannot be made."""
        self.announcer.begin("load __init__()")
        try:
            return self.cls(self.options())
        except Exception as error:
            raise Unjudged(f"cannot be made: {one_line(error)}") from error

    def open(self, analyzer: Analyzer, stream_id: str = "one") -> Any:
        self.announcer.begin(f"open() of stream {stream_id}")
        return analyzer.open(SessionInfo(stream_id, options=self.options()))

    def call(self, analyzer: Analyzer, frame: Frame, memory: Any, what: str = "") -> Outcome:
        """One call of `analyze`, whatever comes of it."""
        size = f"{frame.width}x{frame.height}"
        self.announcer.begin(f"analyze() of {what or f'frame {frame.seq}'} ({size})")
        return outcome_of(lambda: to_result(analyzer.analyze(frame, memory), frame, analyzer.labels))

    def run(self, analyzer: Analyzer, moments: Iterable[Moment], stream_id: str = "one") -> list[Outcome]:
        """One session over pictures."""
        opened = outcome_of(lambda: self.open(analyzer, stream_id))
        if opened.kind == "raised":
            return [Outcome("raised", f"open(): {opened.text}")]
        memory = opened.result
        return [self.call(analyzer, self.material.frame(moment), memory) for moment in moments]


def outcome_of(call: Callable[[], Any]) -> Outcome:
    """What a call of foreign code comes to."""
    try:
        return Outcome("result", result=call())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code
        return Outcome(_kind(error), one_line(error))


def _kind(error: BaseException) -> Kind:
    if not isinstance(error, OSError) and re.search(r"read-?only", str(error), re.IGNORECASE):
        return "writes"
    last = traceback.extract_tb(error.__traceback__)[-1].filename if error.__traceback__ else ""
    return "unclean" if last.endswith(OWN) else "raised"


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
