"""Workers for real: a process and a thread do the same, and a process leaves nothing behind, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.engine import wire
from gateway.engine.host import Report
from gateway.engine.hub import Hub
from gateway.engine.plugins import PluginSpec
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.worker import ProcessWorker, ThreadWorker, Worker, WorkerDied, WorkerSetup
from tests.doubles import jpeg, settings

pytestmark = pytest.mark.e2e

SOURCE = '''
"""Does as the frame's number says."""
import os, sys, time
from gateway import Analyzer, Result, hookimpl

print("a plugin prints while it is imported")

class Tiny(Analyzer):
    name = "tiny"

    def analyze(self, frame, memory):
        memory["count"] = memory.get("count", 0) + 1
        if frame.seq == 6:
            time.sleep(60)
        if frame.seq == 7:
            os.kill(os.getpid(), 9)
        if frame.seq == 8:
            raise OSError("no such file: \\udce9.jpg")
        if frame.seq == 9:
            return Result(data=dict(os.environ))
        if frame.seq == 11:
            time.sleep(0.5)
        if frame.seq == 12:
            return Result(data={"text": "x" * 9_000_000})
        return Result(measures={"count": memory["count"], "mean": float(frame.to_bgr().mean())})

    def close(self):
        print("tiny closes", flush=True)

@hookimpl
def register_analyzers():
    return [Tiny]
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(SOURCE)
    return path


def setup(plugin: Path) -> WorkerSetup:
    spec = PluginSpec("tiny", path=str(plugin), version="file")
    return WorkerSetup((spec,), {}, {"PATH": os.environ["PATH"]}, nice=0)


def item(seq: int, stream: str = "one") -> dict[str, Any]:
    return {
        "session": {"stream_id": stream, "camera_id": None, "name": ""},
        "frame": {"seq": seq, "received_at": 1000.0, "at": 0.0, "width": 32, "height": 24, "captured_at": None},
        "results": {},
        "length": len(jpeg()),
    }


def job(*items: dict[str, Any], analyzer: str = "tiny") -> dict[str, Any]:
    """One call about all of them."""
    asked = [{"item": number, "options": {}} for number in range(len(items))]
    return {"items": list(items), "calls": [{"analyzer": analyzer, "items": asked}]}


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[Report]:
    """A worker that has started and loaded its analyzer; its hello."""
    hello = await worker.start()
    async with asyncio.TaskGroup() as tasks:
        ears = tasks.create_task(worker.listen())
        try:
            await worker.prepare("tiny")
            yield hello
        finally:
            ears.cancel()
            await worker.close()


async def reports(worker: Worker, *items: dict[str, Any]) -> list[Report]:
    """The outcomes of a call, without what differs from run to run."""
    order = job(*items)
    (report,) = [report async for report in worker.run(order, [jpeg()] * len(items)) if report["t"] != "alone"]
    return [{key: value for key, value in one.items() if key != "traceback"} for one in report["outcomes"]]


async def outcome(worker: Worker, seq: int, stream: str = "one") -> Report:
    (found,) = await reports(worker, item(seq, stream))
    return found


async def everything(worker: Worker) -> list[Any]:
    async with serving(worker) as hello:
        told = {part: hello[part] for part in ("t", "analyzers", "failed")}
        said: list[Any] = [json.loads(json.dumps(told)), *[await outcome(worker, seq) for seq in (0, 1, 2)]]
        worker.forget("one")
        return [*said, await outcome(worker, 3), await outcome(worker, 4, "two")]


async def test_a_process_and_a_thread_report_the_same(plugin: Path) -> None:
    in_process = await everything(ProcessWorker(setup(plugin)))
    assert in_process == await everything(ThreadWorker(setup(plugin)))
    counts = [said["result"]["measures"]["count"] for said in in_process[1:]]
    assert counts == [1, 2, 3, 1, 1]


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
async def test_a_worker_can_be_started_again_and_remembers_nothing(plugin: Path, kind: type[Any]) -> None:
    worker = kind(setup(plugin))
    for _ in range(2):
        async with serving(worker):
            assert (await outcome(worker, 0))["result"]["measures"]["count"] == 1


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
async def test_a_worker_that_is_down_forgets_without_a_word(plugin: Path, kind: type[Any]) -> None:
    worker = kind(setup(plugin))
    worker.forget("one")
    await worker.start()
    await worker.close()
    worker.forget("one")


async def test_an_error_that_quotes_no_text_comes_through(plugin: Path) -> None:
    worker = ProcessWorker(setup(plugin))
    async with serving(worker):
        assert (await outcome(worker, 8))["error"] == "OSError: no such file: ?.jpg"


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
async def test_a_session_is_forgotten_after_the_job_it_is_in(plugin: Path, kind: type[Any]) -> None:
    worker = kind(setup(plugin))
    async with serving(worker):
        order = job(item(1))
        running = worker.run({**order, "calls": order["calls"] * 2}, [jpeg()])
        first = await anext(running)
        worker.forget("one")
        (second,) = [report async for report in running]
        counts = [call["outcomes"][0]["result"]["measures"]["count"] for call in (first, second)]
        assert [*counts, (await outcome(worker, 2))["result"]["measures"]["count"]] == [1, 2, 1]


async def test_a_worker_answers_a_ping_while_it_works(plugin: Path) -> None:
    worker = ProcessWorker(setup(plugin))
    async with serving(worker):
        running = worker.run(job(item(11), item(1)), [jpeg()] * 2)
        await anext(running)
        began = time.monotonic()
        await worker.ping()
        took = time.monotonic() - began
        (*_, last) = [report async for report in running]
        assert (last["t"], took < 0.4) == ("call", True)
        assert worker.rss > 10 * 2**20


async def test_a_result_that_is_too_large_to_be_told_is_that_analyzers_error(plugin: Path) -> None:
    worker = ProcessWorker(setup(plugin))
    async with serving(worker):
        error = (await outcome(worker, 12))["error"]
        assert error.startswith("its result cannot be told: 9000")
        assert (await outcome(worker, 0))["result"]["measures"]["count"] == 2


@pytest.mark.parametrize("kind", [ProcessWorker, ThreadWorker])
async def test_analyzers_are_closed_when_a_worker_ends(
    plugin: Path, kind: type[Any], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(kind(setup(plugin))):
        pass
    assert "tiny closes" in capfd.readouterr().out + caplog.text


@pytest.mark.parametrize("killed", [False, True])
async def test_a_worker_that_hangs_is_ended_after_half_a_second_or_at_once(plugin: Path, killed: bool) -> None:
    worker = ProcessWorker(setup(plugin))
    await worker.start()
    ears = asyncio.create_task(worker.listen())
    await worker.prepare("tiny")
    worker.run(job(item(6)), [jpeg()])
    pid, began = worker.pid, time.monotonic()
    assert pid is not None
    if killed:
        worker.kill()
    await worker.close()
    took = time.monotonic() - began
    ears.cancel()
    await asyncio.wait([ears])
    assert (alive(pid), took < 0.4) == (False, killed)


async def test_a_process_that_cannot_be_made_is_a_worker_that_died(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(WorkerDied, match="cannot be started"):
        await ProcessWorker(setup(plugin)).start()


# --- the end of a process --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [None, 6], ids=["idle", "in a job that hangs"])
def test_a_child_leaves_within_a_second_when_its_socket_closes(plugin: Path, seq: int | None) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "gateway.engine.child", str(theirs.fileno()), "analyze"]
    with theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL) as child:
        theirs.close()
        wire.send(ours, {"plugins": [{"name": "tiny", "path": str(plugin)}], "options": {}})
        assert wire.receive(ours)[0]["t"] == "hello"
        if seq is not None:
            wire.send(ours, {"t": "prepare", "analyzer": "tiny"})
            assert wire.receive(ours)[0]["state"] == "ready"
            wire.send(ours, {**job(item(seq)), "t": "job", "id": 0}, jpeg())
            time.sleep(0.1)  # so that it sleeps in there
        ours.close()
        try:
            assert child.wait(1.0) == 0
        finally:
            child.kill()


PARENT = """
import asyncio, sys
from gateway.engine.plugins import PluginSpec
from gateway.engine.worker import ProcessWorker, WorkerSetup

async def main():
    worker = ProcessWorker(WorkerSetup((PluginSpec("tiny", path=sys.argv[1]),), {}, {}))
    await worker.start()
    print(worker.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_child_leaves_within_a_second_when_its_parent_is_killed(plugin: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(plugin)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 1.0
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- in the engine ---------------------------------------------------------------------------------------------------


async def made_of(session: Session, seq: int) -> dict[str, Any]:
    """What `tiny` made of this frame, once it was ready."""
    async with asyncio.timeout(20):
        while session.stages[0].runner.state != "ready":  # noqa: ASYNC110 - nothing rings when it is
            await asyncio.sleep(0.02)
    with session.answers.expect(seq, ["tiny"]) as answer:
        session.put(jpeg(), seq=seq)
        assert await answer.complete(20.0)
    outcome: dict[str, Any] = answer.analyzers["tiny"]
    return outcome


async def test_a_process_knows_none_of_the_gateways_secrets(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAMEGATE_AUTH_TOKEN", "AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "TELEGRAM_BOT_TOKEN"):
        monkeypatch.setenv(name, "canary")
    async with Hub(settings(plugins=[str(plugin)])).running() as hub:
        session = await hub.open_session(SessionRequest(analyzers=("tiny",)))
        environment = (await made_of(session, 9))["data"]
    assert "canary" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]


async def test_a_process_that_dies_in_a_job_costs_its_frame_and_is_replaced(plugin: Path) -> None:
    async with Hub(settings(plugins=[str(plugin)])).running() as hub:
        session = await hub.open_session(SessionRequest(analyzers=("tiny",)))
        assert (await made_of(session, 0))["measures"]["count"] == 1
        assert (await made_of(session, 7))["dropped"] == "worker_died"
        await asyncio.sleep(0.2)
        assert hub.runners["tiny"].reason == "the analyze worker has gone (killed by SIGKILL)"
        assert (await made_of(session, 10))["measures"]["count"] == 1
        (stage,) = session.stages
        assert (stage.analyzed, stage.dropped, session.state) == (2, {"worker_died": 1}, "live")
        assert hub.supervisors[0].restarts == 1


@pytest.mark.slow
async def test_a_process_killed_from_outside_is_replaced(plugin: Path) -> None:
    async with Hub(settings(plugins=[str(plugin)])).running() as hub:
        session = await hub.open_session(SessionRequest(analyzers=("tiny",)))
        await made_of(session, 0)
        worker = hub.supervisors[0].worker
        assert isinstance(worker, ProcessWorker)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert (await made_of(session, 1))["measures"]["count"] == 1


async def test_a_plugin_that_does_not_import_is_reported_and_the_others_work(plugin: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import no_such_module")
    async with Hub(settings(plugins=[str(bad), str(plugin)])).running() as hub:
        session = await hub.open_session(SessionRequest(analyzers=("tiny",)))
        assert (await made_of(session, 0))["state"] == "ready"
        assert "No module named 'no_such_module'" in hub.plugin_errors["bad"]


async def test_what_a_plugin_prints_gets_into_the_log_and_nowhere_else(
    plugin: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    worker = ProcessWorker(setup(plugin))
    async with serving(worker):
        pass
    assert capfd.readouterr() == ("", "")
    assert "tiny: a plugin prints" in caplog.text


async def test_no_process_is_left_when_the_hub_has_closed(plugin: Path) -> None:
    async with Hub(settings(plugins=[str(plugin)])).running() as hub:
        await hub.introduced()
        worker = hub.supervisors[0].worker
        assert isinstance(worker, ProcessWorker)
        pid = worker.pid
        assert pid is not None
        assert alive(pid)
    assert (alive(pid), worker.pid) == (False, None)
