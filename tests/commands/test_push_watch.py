"""`framegate push` and `framegate watch` as processes, against the real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest

from gateway.commands.child import HOST, gateway_process
from tests.commands.test_demo import free_port
from tests.commands.test_sources import write_video

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@asynccontextmanager
async def gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("FRAMEGATE_HOME", str(folder))
    port = free_port()
    async with gateway_process(port, folder / "log"):
        yield f"http://{HOST}:{port}"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


async def outcome(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_a_video_goes_once_every_frame_of_it_and_a_watcher_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "v.mp4", frames=30)
    async with gateway(tmp_path, monkeypatch) as url, httpx2.AsyncClient(base_url=url) as http:
        push = await start("push", str(video), "--url", url, "--analyzers", "motion")
        assert push.stdout is not None
        stream_id = (await push.stdout.readline()).decode().split()[1]
        watch = await start("watch", f"{url}/stream/{stream_id}", "--json")
        code, out, errors = await outcome(push)
        assert (code, errors) == (0, "")
        assert f"{url}/viewer?stream_id={stream_id}" in out
        assert ["sent", "30"] in [line.split() for line in out.splitlines()]
        assert ["acknowledged", "30"] in [line.split() for line in out.splitlines()]
        status = (await http.get(f"/stream/{stream_id}")).json()
        assert status["frames_in"] == 30
        await http.delete(f"/stream/{stream_id}")
        code, out, errors = await outcome(watch)
    assert (code, errors) == (0, "")
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds[0] == "hello"
    assert "result" in kinds
    assert kinds[-1] == "bye"


async def test_a_stream_that_is_not_there_is_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "v.mp4", frames=3)
    async with gateway(tmp_path, monkeypatch) as url:
        for command in (["push", str(video), "--url", f"{url}/stream/nobody"], ["watch", f"{url}/stream/nobody"]):
            code, _, errors = await outcome(await start(*command))
            assert code == 1
            assert "Traceback" not in errors
            assert errors.count("\n") == 1


async def test_a_stream_that_is_ended_under_a_push_is_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "v.mp4", frames=20)
    async with gateway(tmp_path, monkeypatch) as url, httpx2.AsyncClient(base_url=url) as http:
        push = await start("push", str(video), "--url", url, "--loop")
        assert push.stdout is not None
        stream_id = (await push.stdout.readline()).decode().split()[1]
        while not (await http.get(f"/stream/{stream_id}")).json()["frames_in"]:  # noqa: ASYNC110 - it is asked, not told
            await asyncio.sleep(0.05)
        await http.delete(f"/stream/{stream_id}")
        code, _, errors = await outcome(push)
    assert (code, errors) == (1, "push: the stream is over: deleted\n")


async def test_pictures_go_at_the_rate_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shots").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "shots" / f"{number}.png"), np.full((48, 64, 3), number * 60, np.uint8))
    async with gateway(tmp_path, monkeypatch) as url:
        code, out, _ = await outcome(await start("push", str(tmp_path / "shots"), "--url", url, "--fps", "20"))
    assert code == 0
    assert ["acknowledged", "4"] in [line.split() for line in out.splitlines()]
