"""Workers that die for real: how they died is told by name, the frame is kept, and nothing else is touched."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.hub import Hub
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.supervisor import Supervisor
from tests.doubles import jpeg, settings

pytestmark = pytest.mark.e2e

SOURCE = '''
"""Does as the last digit of the frame's number says."""
import ctypes, os, time
from gateway import Analyzer, Result, hookimpl

held = []

class Frail(Analyzer):
    name = "frail"

    def analyze(self, frame, memory):
        match frame.seq % 10:
            case 1:
                ctypes.string_at(0)
            case 2:
                os._exit(3)
            case 3:
                while True:
                    held.append(bytearray(b"x" * 20_000_000))
                    time.sleep(0.02)
            case 4:
                held.append(bytearray(b"x" * 220_000_000))
        return Result(measures={"pid": os.getpid()})

class Fatal(Analyzer):
    name = "fatal"

    def __init__(self, options):
        os._exit(4)

    def analyze(self, frame, memory):
        return Result()

@hookimpl
def register_analyzers():
    return [Frail, Fatal]
'''


@asynccontextmanager
async def at_work(folder: Path, *analyzers: str, **rules: Any) -> AsyncIterator[tuple[Hub, Session]]:
    """A hub with a plugin that dies as its frame says, and a session that asks for it."""
    path = folder / "frail.py"
    path.write_text(SOURCE)
    async with Hub(settings(plugins=[str(path)], home=folder / "home", analysis=rules)).running() as hub:
        yield hub, await hub.open_session(SessionRequest(analyzers=analyzers or ("frail",)))


async def true(condition: Callable[[], bool], *, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - nothing rings when it is
            await asyncio.sleep(0.02)


async def outcome(hub: Hub, session: Session, seq: int) -> dict[str, Any]:
    """What came of this frame, once `frail` was ready."""
    await true(lambda: hub.runners["frail"].state == "ready")
    with session.answers.expect(seq, ["frail"]) as answer:
        session.put(jpeg(), seq=seq)
        assert await answer.complete(20.0)
    found: dict[str, Any] = answer.analyzers["frail"]
    return found


def supervisor_of(hub: Hub) -> Supervisor:
    (supervisor,) = hub.supervisors
    return supervisor


@pytest.mark.parametrize(("seq", "how"), [(1, "killed by SIGSEGV"), (2, "exit code 3")])
@pytest.mark.slow
async def test_a_death_in_a_call_is_told_by_name_and_its_frame_is_kept(tmp_path: Path, seq: int, how: str) -> None:
    async with at_work(tmp_path, quarantine=True) as (hub, session):
        await outcome(hub, session, 0)
        assert (await outcome(hub, session, seq))["dropped"] == "worker_died"
        died, runner = time.monotonic(), hub.runners["frail"]
        await true(lambda: supervisor_of(hub).state == "starting")
        assert time.monotonic() - died < 2.0
        assert (how in str(runner.reason), runner.restarts) == (True, 1)
        assert (await outcome(hub, session, 10))["measures"]["pid"] == supervisor_of(hub).worker.pid
        place = tmp_path / "home" / "quarantine" / "frail-1"
        assert runner.describe()["quarantine"] == str(place)
        assert {path.name for path in place.iterdir()} == {f"frame-{seq}.jpg", "job.json"}
        assert how in (place / "job.json").read_text()


@pytest.mark.slow
async def test_with_the_default_limits_an_analyzer_that_always_crashes_ends_disabled(tmp_path: Path) -> None:
    async with at_work(tmp_path, restart_pause_s=0.1) as (hub, session):
        runner = hub.runners["frail"]
        for life in range(6):
            await true(lambda: runner.refusal(time.monotonic()) is None)
            session.put(jpeg(), seq=10 * life + 2)
            await true(lambda: runner.state in ("loading", "disabled"))
        assert (runner.state, runner.restarts, supervisor_of(hub).restarts) == ("disabled", 6, 6)
        await true(lambda: supervisor_of(hub).state == "running")


async def test_an_analyzer_that_exits_while_it_is_loaded_ends_disabled_and_the_others_go_on(tmp_path: Path) -> None:
    async with at_work(tmp_path, "frail", "fatal", restart_pause_s=0.05, restarts=1) as (hub, session):
        await true(lambda: hub.runners["fatal"].state == "disabled")
        assert "exit code 4" in str(hub.runners["fatal"].reason)
        assert "pid" in (await outcome(hub, session, 0))["measures"]


@pytest.mark.slow
async def test_a_call_in_which_a_worker_grows_beyond_twice_its_limit_is_ended(tmp_path: Path) -> None:
    async with at_work(tmp_path, memory_mb=200) as (hub, session):
        await outcome(hub, session, 0)
        assert (await outcome(hub, session, 3))["dropped"] == "worker_died"
        runner = hub.runners["frail"]
        await true(lambda: runner.restarts == 1)
        assert str(runner.reason).startswith("grew to ")
        assert str(runner.reason).endswith(" MiB of memory, more than twice 200")


async def test_a_worker_that_holds_too_much_after_a_frame_is_started_anew(tmp_path: Path) -> None:
    async with at_work(tmp_path, memory_mb=200) as (hub, session):
        before = (await outcome(hub, session, 0))["measures"]["pid"]
        assert (await outcome(hub, session, 4))["measures"]["pid"] == before
        await true(lambda: supervisor_of(hub).recycled == 1)
        assert (await outcome(hub, session, 5))["measures"]["pid"] != before
        assert (supervisor_of(hub).restarts, hub.runners["frail"].failures) == (0, 0)
        assert 0 < supervisor_of(hub).describe()["memory_bytes"] < 200 * 2**20


@pytest.mark.slow
async def test_an_idle_worker_that_was_stopped_is_found_and_replaced(tmp_path: Path) -> None:
    async with at_work(tmp_path, ping_s=0.5) as (hub, session):
        pid = int((await outcome(hub, session, 0))["measures"]["pid"])
        await true(lambda: not supervisor_of(hub).dispatcher.busy)
        os.kill(pid, signal.SIGSTOP)
        await true(lambda: supervisor_of(hub).state != "running", within=3.0)
        assert supervisor_of(hub).reason == "the worker does not answer: no sign of life for 0.5 s"
        assert (await outcome(hub, session, 10))["measures"]["pid"] != pid
        assert (hub.runners["frail"].restarts, supervisor_of(hub).restarts) == (0, 1)


# --- the author mends it ----------------------------------------------------------------------------------------------


async def test_a_disabled_analyzer_works_again_after_its_file_was_mended_and_reloaded(tmp_path: Path) -> None:
    async with at_work(tmp_path, restarts=0, restart_pause_s=0.05) as (hub, session):
        assert (await outcome(hub, session, 2))["dropped"] == "worker_died"
        runner, supervisor = hub.runners["frail"], supervisor_of(hub)
        await true(lambda: runner.state == "disabled" and supervisor.state == "running")
        (tmp_path / "frail.py").write_text(SOURCE.replace("os._exit(3)", "pass"))
        await supervisor.reload(runner)
        assert (runner.state, runner.reason) == ("ready", None)
        assert "pid" in (await outcome(hub, session, 12))["measures"]


async def test_a_file_that_does_not_compile_is_refused_and_the_old_code_runs_on(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (hub, session):
        pid = (await outcome(hub, session, 0))["measures"]["pid"]
        (tmp_path / "frail.py").write_text("class Frail(\n")
        runner, supervisor = hub.runners["frail"], supervisor_of(hub)
        await supervisor.reload(runner)
        assert runner.state == "ready"
        assert str(runner.reason).startswith(f"not reloaded: {tmp_path}/frail.py:1: SyntaxError")
        assert (await outcome(hub, session, 10))["measures"]["pid"] == pid


async def test_an_analyzer_that_is_gone_from_its_file_has_failed_after_a_reload(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (hub, session):
        pid = (await outcome(hub, session, 0))["measures"]["pid"]
        (tmp_path / "frail.py").write_text(SOURCE.replace("[Frail, Fatal]", "[Frail]"))
        await supervisor_of(hub).reload(hub.runners["frail"])
        assert {name: runner.state for name, runner in hub.runners.items()} == {"frail": "ready", "fatal": "failed"}
        assert (await outcome(hub, session, 10))["measures"]["pid"] != pid
        assert supervisor_of(hub).restarts == 0
