"""Media children come and go, are killed and stopped; their streams come back, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from gateway.media.pool import MediaPool
from tests.media.fake_rtsp import fake_camera
from tests.media.pulling import pool, pull
from tests.media.web_camera import web_camera
from tests.server import eventually


def pids(running: MediaPool) -> list[int]:
    return [worker.pid or 0 for worker in running.workers]


@pytest.mark.slow
async def test_a_child_that_is_killed_or_stopped_costs_its_own_streams_one_reconnect(tmp_path: Path) -> None:
    async with pool(tmp_path, streams_per_child=1, ping_s=0.5) as running:
        _, hit = pull(running, "demo:")
        _, other = pull(running, "demo:")
        await hit.pictures(2)
        await other.pictures(2)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            victim = hit_pid = next(w.pid or 0 for w in running.workers if 1 in w.feeds)
            os.kill(hit_pid, number)
            lost = len(hit.tolds)
            await hit.until(lambda lost=lost: "online" in hit.states[lost:])  # type: ignore[misc]
            await hit.pictures(2)
            assert not psutil.pid_exists(victim)
        assert hit.codes == ["media_child"] * 2
        assert other.states == ["connecting", "online"]
        assert running.restarts == 2
        left = pids(running)
    assert not any(psutil.pid_exists(pid) for pid in left)


async def test_there_is_no_child_without_a_source_and_files_are_read_by_one_without_network(tmp_path: Path) -> None:
    with web_camera() as web:
        async with pool(tmp_path, web.port) as running:
            assert running.workers == []
            pulled = [pull(running, source) for source in (f"{web.url}/mjpeg", "/dev/video99", "demo:")]
            for _, watcher in pulled:
                await watcher.until(lambda watcher=watcher: watcher.shots or watcher.codes)  # type: ignore[misc]
            confined = {worker.kind: worker.confined for worker in running.workers}
            for feed, _ in pulled:
                running.close(feed)
            assert running.workers == [] or all(worker.retiring for worker in running.workers)
    failed = pulled[1][1]
    assert failed.codes[0] == "device"
    assert confined["network"]["network"] == "granted" != confined["network"]["files"]
    assert confined["local"]["files"] == "granted" != confined["local"]["network"]
    assert confined["plugin"]["network"] != "granted"


async def test_a_source_that_nobody_wants_any_more_is_closed(tmp_path: Path) -> None:
    with web_camera() as camera:
        async with pool(tmp_path, camera.port) as running:
            _, watcher = pull(running, f"{camera.url}/mjpeg")
            await watcher.pictures(1)
            watcher.gone = True
            async with asyncio.timeout(10):
                while running.workers:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_child_that_grew_too_large_gives_its_streams_to_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.media.pool.YOUNG_S", 6.0)
    async with pool(tmp_path, memory_mb=1, ping_s=0.5) as running:
        _, watcher = pull(running, "demo:")
        await watcher.pictures(1)
        first = pids(running)
        await watcher.until(lambda: watcher.states.count("online") >= 2)
        assert pids(running) != first
        assert running.recycled >= 1
        assert running.restarts == 0


@pytest.mark.slow
async def test_two_hundred_attempts_leave_nothing_behind_in_the_child(tmp_path: Path) -> None:
    with web_camera() as camera, fake_camera() as silent:
        silent.answers["PLAY"] = b"RTSP/1.0 454 No\r\nCSeq: %d\r\n\r\n"
        sources = [f"{camera.url}/mjpeg", f"{camera.url}/html", f"rtsp://127.0.0.1:{silent.port}/x"]
        async with pool(tmp_path, camera.port, silent.port, streams_per_child=1000) as running:
            _, steady = pull(running, sources[0])  # in the same child
            await steady.pictures(1)
            child = psutil.Process(running.workers[0].pid)
            threads = child.num_threads()
            held: list[tuple[int, int]] = []
            for round_ in range(70):
                pulled = [pull(running, source) for source in sources]
                for feed, watcher in pulled:
                    await watcher.until(lambda watcher=watcher: watcher.shots or watcher.codes)  # type: ignore[misc]
                    running.close(feed)
                if round_ in (19, 69):
                    await asyncio.to_thread(eventually, lambda: silent.open == 0)
                    await asyncio.to_thread(eventually, lambda: child.num_threads() <= threads)
                    held.append((child.num_fds(), child.memory_info().rss))
        assert steady.codes == []
    (fds, rss), (later_fds, later_rss) = held
    assert later_fds == fds
    assert later_rss - rss < 8 * 2**20


async def test_secrets_stand_neither_in_a_childs_arguments_nor_in_its_environment(tmp_path: Path) -> None:
    with web_camera() as camera:
        async with pool(tmp_path, camera.port) as running:
            _, watcher = pull(running, camera.url.replace("//", "//canaryuser:canarypass@") + "/still.jpg?canaryquery")
            await watcher.pictures(1)
            seen = ""
            for child in psutil.Process().children(recursive=True):
                seen += " ".join(child.cmdline()) + str(child.environ())
            assert "gateway.engine.child" in seen
    assert "canary" not in seen + repr(watcher.tolds) + repr(watcher.shots) + str(running.describe())
