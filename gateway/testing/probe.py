"""Probe: asks one question about foreign code of a child process, and learns what became of both."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from gateway.engine.process import python

LIMIT_S = 180.0  # all of a task
START = "start"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may take before it counts as hanging; `load_s` is for imports, models and first frames."""

    call_s: float = 10.0
    load_s: float = 60.0

    def over(self, doing: str) -> float:
        slow = doing.startswith((START, "import", "load")) or " of frame 0 " in doing
        return self.load_s if slow else self.call_s


PATIENT, IMPATIENT = Patience(), Patience(3.0, 15.0)


class ProbeFailed(Exception):
    """The child did not even come to the plugin: a defect of ours or of the installation."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child answered; or `fate`, one line saying how it ended instead."""

    document: Mapping[str, Any] | None
    fate: str = ""

    @property
    def hung(self) -> bool:
        return "did not return within" in self.fate


def ask(
    task: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    limit_s: float = LIMIT_S,
    patience: Patience = PATIENT,
) -> Answer:
    """Run one task in a process of its own; it is gone, with all it started, when this returns.

    Raises `ProbeFailed`.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as errors, os.fdopen(reading, "rb", buffering=0) as report:
        try:
            child = _start(writing, environment, errors)
        finally:
            os.close(writing)
        try:
            _give(child, {**task, "limit_s": limit_s})
            document, doing = _listen(report, limit_s, patience)
            fate = "" if document is not None else _fate(child, doing, patience.over(doing))
        finally:
            _end(child)
        errors.seek(0)
        said = errors.read()[-4000:].decode(errors="replace")
    if document is None and doing == START:
        raise ProbeFailed(f"the check itself did not start: {said.strip().rpartition(chr(10))[2] or fate}")
    return Answer(document, fate)


def _start(writing: int, environment: Mapping[str, str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*python(), "-m", "gateway.testing.examiner", str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=[writing],
        env=dict(environment),
        process_group=0,
    )


def _give(child: subprocess.Popen[bytes], task: Mapping[str, Any]) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(json.dumps(task).encode())


def _listen(report: IO[bytes], limit_s: float, patience: Patience) -> tuple[dict[str, Any] | None, str]:
    """The answer, or None and what was being done when the child fell silent or went."""
    end, doing, rest = time.monotonic() + limit_s, START, b""
    while True:
        wait = min(patience.over(doing), end - time.monotonic())
        ready, _, _ = select.select([report], [], [], max(0.0, wait))
        if not ready or not (data := report.read(1 << 16)):
            return None, doing
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not line.startswith(b">"):
                found: dict[str, Any] = json.loads(line)
                return found, doing
            doing = line[1:].decode()


def _fate(child: subprocess.Popen[bytes], doing: str, waited_s: float) -> str:
    """Why there is no answer."""
    try:
        code = child.wait(0.5)
    except subprocess.TimeoutExpired:
        return f"{doing} did not return within {waited_s:g} s"
    if code < 0:
        with suppress(ValueError):
            return f"{doing} killed the process ({signal.Signals(-code).name})"
    return f"{doing} ended the process (exit code {code})"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill it with whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
