"""Plugins of strangers: files as people write them, one worker process each, good ones and bad ones."""

from __future__ import annotations

from pathlib import Path
from string import Template

FAULTS = ("raise", "hang", "spin", "leak", "segfault", "exit", "abort")
LEAK_MB = 300

_LIGHT = """
from gateway import Box, Detection, as_analyzer


@as_analyzer("$name")
def look(frame):
    return Detection("dark", 1.0, Box(0, 0, 1, 1)) if frame.scaled(64).mean() < 1 else None
"""

# Every second call of a process is a fault, said in the log before it happens. The frame's number picks which one, so
# that a process that begins anew goes on with another one.
_BAD = """
import ctypes
import logging
import os
import random
import re
import time
from dataclasses import dataclass

from gateway import Analyzer, Result, hookimpl

log = logging.getLogger(__name__)
HOARD = []


def leak():
    HOARD.append(os.urandom(1) * ($leak_mb * 2**20))


def fail():
    raise RuntimeError("on purpose")


FAULTS = {
    "raise": fail,
    "hang": lambda: time.sleep(3600),
    "spin": lambda: re.match("(a+)+z", "a" * 60 + "b"),  # backtracks for years and keeps the GIL
    "leak": leak,
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "abort": os.abort,
}


@dataclass(frozen=True)
class Options:
    faults: str = "$faults"


class Bad(Analyzer):
    name = "bad"
    Options = Options
    load_options = ("faults",)

    def __init__(self, options):
        self.faults = options.faults.split()
        self.calls = 0

    def analyze(self, frame, memory):
        self.calls += 1
        if self.calls % 2 == 0:
            fault = random.Random(frame.seq).choice(self.faults)
            log.warning("fault %s", fault)
            FAULTS[fault]()
        return Result()


@hookimpl
def register_analyzers():
    return [Bad]
"""

_BUSY = """
import time

import numpy as np

from gateway import as_analyzer


@as_analyzer("$name")
def look(frame):
    until, work = time.perf_counter() + $seconds, np.asarray(frame.scaled(320), np.float32)
    while time.perf_counter() < until:
        work = np.sqrt(work * work + 1)
    return None
"""

_NATIVE = """
import logging
import re

from gateway import as_analyzer


@as_analyzer("native")
def look(frame):
    logging.getLogger(__name__).warning("busy native")
    re.match("(a+)+z", "a" * 60 + "b")
"""

_HUNG = """
import logging
import time

from gateway import as_analyzer


@as_analyzer("hung")
def look(frame):
    logging.getLogger(__name__).warning("busy hung")
    time.sleep(3600)
"""

# Ignores signals, has threads of its own and starts processes: one as everybody does, one in a session of its own.
_STUBBORN = """
import logging
import signal
import subprocess
import sys
import threading
import time

from gateway import as_analyzer

log = logging.getLogger(__name__)
DEAF = (
    "import signal, time\\nfor n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(n, signal.SIG_IGN)\\n"
    "time.sleep(3600)"
)
STARTED = []


def start(**how):
    try:
        STARTED.append(subprocess.Popen([sys.executable, "-c", DEAF], **how))
    except OSError as error:
        log.warning("no process for me: %s", error)


def spin():
    while True:
        time.sleep(0.01)


@as_analyzer("stubborn")
def look(frame):
    if not STARTED:
        threading.Thread(target=spin).start()
        start()
        start(start_new_session=True)
        log.warning("busy stubborn")
"""


def light_plugins(folder: Path, count: int) -> list[Path]:
    """So many that look at a small picture and find nothing: `light_0`, `light_1`, ..."""
    return [_write(folder, f"light_{number}", _LIGHT) for number in range(count)]


def bad_plugin(folder: Path) -> Path:
    """`bad`: fine at one call, at fault at the next. Its option `faults` names what it does."""
    return _write(folder, "bad", _BAD, leak_mb=LEAK_MB, faults=" ".join(FAULTS))


def busy_plugin(folder: Path, seconds: float) -> Path:
    """`busy`: computes for so long at each frame."""
    return _write(folder, "busy", _BUSY, seconds=seconds)


def immortal_plugins(folder: Path) -> list[Path]:
    """`native`, `hung` and `stubborn`: hard to end, each in its own way. They log `busy NAME` when they are at it."""
    return [
        _write(folder, name, text) for name, text in (("native", _NATIVE), ("hung", _HUNG), ("stubborn", _STUBBORN))
    ]


def _write(folder: Path, name: str, text: str, **parts: object) -> Path:
    file = folder / f"{name}.py"
    file.write_text(Template(text).substitute(name=name, **parts).lstrip())
    return file
