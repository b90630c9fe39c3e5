"""A worker's guard: whatever was started below it is gone when it is, and it ends as the worker did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guards are for Linux")

GONE_S = 10.0

# A worker that starts three processes, says who they are, and then does as it is told, or waits. The first ignores
# signals, the second is in a session of its own, the third is a child of nobody.
WORKER = """
import json, os, signal, subprocess, sys, time
from gateway.engine import guard

guard.split(os.open(os.devnull, os.O_RDONLY))
DEAF = "import signal, time\\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\\nprint(); time.sleep(60)"
def start(code, **how):
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **how)
    return child, child.stdout.readline()

first, _ = start(DEAF)
second, _ = start(DEAF, start_new_session=True)
FORK = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid)"
between, third = start(FORK)
between.wait()
print(json.dumps({"guard": os.getppid(), "worker": os.getpid(), "started": [first.pid, second.pid, int(third)]}))
sys.stdout.flush()
exec(sys.argv[1])
time.sleep(60)
"""
# A gateway for it: starts it, and is killed from outside.
GATEWAY = "import subprocess, sys, time; subprocess.Popen([sys.executable, *sys.argv[1:]]); time.sleep(60)"


@dataclass(frozen=True)
class Family:
    spawned: subprocess.Popen[str]
    guard: psutil.Process
    worker: psutil.Process
    started: list[psutil.Process]

    def go(self) -> None:
        """The worker may do what it was told, now that everybody is known."""
        assert self.spawned.stdin is not None
        self.spawned.stdin.write("go\n")
        self.spawned.stdin.flush()

    def wait_until_gone(self) -> None:
        """Whoever lives on fails the test. That a process of nobody is buried is part of it."""
        for process in (self.worker, *self.started):
            process.wait(GONE_S)


@contextmanager
def family(then: str = "", above: tuple[str, ...] = ()) -> Iterator[Family]:
    """A guarded worker that has started its processes; `above` is what spawns it."""
    command = [sys.executable, *above, "-c", WORKER, then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as spawned:
        assert spawned.stdout is not None
        told = json.loads(spawned.stdout.readline())
        guard, worker, *started = (psutil.Process(pid) for pid in (told["guard"], told["worker"], *told["started"]))
        try:
            yield Family(spawned, guard, worker, started)
        finally:
            for process in (guard, worker, *started):
                if process.is_running():
                    process.kill()
            spawned.kill()


@pytest.mark.parametrize(
    ("end", "code"),
    [("os._exit(7)", 7), ("os._exit(0)", 0), ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV)],
)
def test_a_worker_that_ends_takes_all_with_it_and_the_guard_ends_the_same_way(end: str, code: int) -> None:
    with family(f"sys.stdin.readline(); {end}") as those:
        those.go()
        assert those.spawned.wait(GONE_S) == code
        those.wait_until_gone()


def test_sigterm_for_the_guard_ends_all() -> None:
    with family() as those:
        assert those.spawned.pid == those.guard.pid
        those.guard.terminate()
        assert those.spawned.wait(GONE_S) == 0
        those.wait_until_gone()


def test_all_are_gone_when_the_gateway_is_killed() -> None:
    with family(above=("-c", GATEWAY)) as those:
        os.kill(those.spawned.pid, signal.SIGKILL)
        those.wait_until_gone()


def test_a_worker_does_not_outlive_its_guard() -> None:
    with family() as those:
        those.guard.kill()
        those.worker.wait(GONE_S)


def test_signals_of_a_terminal_leave_it_alone() -> None:
    with family() as those:
        for number in (signal.SIGINT, signal.SIGHUP):
            those.guard.send_signal(number)
        with pytest.raises(psutil.TimeoutExpired):
            those.worker.wait(0.3)
