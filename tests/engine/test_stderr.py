"""What a worker writes to its standard error: in the log under its name, and no more of it than the operator wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.hub import Hub
from gateway.engine.metrics import exposition
from gateway.engine.rate import Allowance
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.stderr import Stderr
from tests.clock import simulated
from tests.doubles import jpeg, settings

SOURCE = """
import ctypes, os
from gateway import Analyzer, Result, hookimpl

class Loud(Analyzer):
    name = "loud"

    def analyze(self, frame, memory):
        match frame.seq:
            case 1:
                print("it looks odd")
                os.write(2, b"\\x1b[31mred\\x07\\r\\nand \\xff\\n\\n")
            case 2:
                os.write(2, b"Corrupt JPEG data\\n" * 50_000)
            case 3:
                os.write(2, b"*" * 300_000)
            case 4:
                os.write(2, b"its last words")
                ctypes.string_at(0)
        return Result()

@hookimpl
def register_analyzers():
    return [Loud]
"""


@asynccontextmanager
async def at_work(folder: Path, **log: Any) -> AsyncIterator[tuple[Hub, Session]]:
    path = folder / "loud.py"
    path.write_text(SOURCE)
    async with Hub(settings(plugins=[str(path)], log=log)).running() as hub:
        yield hub, await hub.open_session(SessionRequest(analyzers=("loud",)))


async def outcome(hub: Hub, session: Session, seq: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while hub.runners["loud"].state != "ready":  # noqa: ASYNC110 - nothing rings when it is
            await asyncio.sleep(0.02)
    with session.answers.expect(seq, ["loud"]) as answer:
        session.put(jpeg(), seq=seq)
        assert await answer.complete(20.0)
    return dict(answer.analyzers["loud"])


async def heard(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    """What was logged of standard error, once there are so many lines of it."""

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "worker.stderr"]

    async with asyncio.timeout(20):
        while len(lines()) < count:  # noqa: ASYNC110 - nothing rings when a line is logged
            await asyncio.sleep(0.02)
    return lines()


@pytest.mark.e2e
async def test_lines_are_logged_one_by_one_under_the_workers_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with at_work(tmp_path) as (hub, session):
        await outcome(hub, session, 1)
        assert await heard(caplog, 3) == ["loud: it looks odd", "loud: \x1b[31mred\x07", "loud: and \\xff"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.e2e
async def test_a_flood_of_lines_costs_a_hundred_in_the_log_and_a_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(tmp_path, worker_lines_per_s=0.001) as (hub, session):
        assert (await outcome(hub, session, 2))["state"] == "ready"
        supervisor = next(each for each in hub.supervisors if "loud" in each.name)
        async with asyncio.timeout(20):
            while supervisor.worker.lines_left_out < 50_000 - 100:  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.02)
        assert await heard(caplog, 100) == ["loud: Corrupt JPEG data"] * 100
        line = f'framegate_worker_lines_left_out_total{{worker="{supervisor.name}"}} 49900.0'
        assert line in exposition(hub)[0].decode()
    assert (await heard(caplog, 101))[100:] == ["loud: 49900 more lines were left out"]


@pytest.mark.e2e
async def test_a_line_without_an_end_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with at_work(tmp_path) as (hub, session):
        assert (await outcome(hub, session, 3))["state"] == "ready"
        lines = await heard(caplog, 1)
    assert {line for line in lines if len(line) == len("loud: ") + 2000} == {"loud: " + "*" * 2000}
    assert sum(map(len, lines)) < 100_000


@pytest.mark.e2e
async def test_the_last_words_of_a_worker_are_heard_and_the_next_one_is_heard_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(tmp_path) as (hub, session):
        assert (await outcome(hub, session, 4))["dropped"] == "worker_died"
        assert await heard(caplog, 1) == ["loud: its last words"]
        await outcome(hub, session, 11)
        with session.answers.expect(12, ["loud"]):
            pass
    assert [record.levelno for record in caplog.records if record.name == "worker.stderr"] == [logging.WARNING]


class _Pipe(asyncio.ReadTransport):
    """A transport of which nothing is wanted but that it can be paused."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@simulated
async def test_after_a_flood_a_line_says_how_many_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    ear = Stderr("door", Allowance(1.0, burst=2))
    ear.connection_made(_Pipe())
    ear.data_received(b"one\ntwo\nthree\nfo")
    ear.data_received(b"ur\n")
    await asyncio.sleep(1.5)
    ear.data_received(b"five\nsix\n")
    ear.connection_lost(None)
    assert [record.getMessage() for record in caplog.records] == [
        "door: one",
        "door: two",
        "door: five (2 lines before it were left out)",
        "door: 1 more lines were left out",
    ]
    assert ear.left_out == 3
