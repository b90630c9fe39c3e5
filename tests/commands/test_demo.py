"""The demo as a user runs it: a process, a real gateway, a verdict. Everything it started is gone when it is."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.e2e


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "demo", *arguments]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "FRAMEGATE_HOME": str(tmp_path)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(environment: dict[str, str], seconds: float, **more: str) -> tuple[dict[str, Any], int, str]:
    """Report, exit code and standard error of one run."""
    done = subprocess.run(
        command("--json", "--seconds", str(seconds), "--port", str(free_port())),
        capture_output=True,
        text=True,
        timeout=100,
        env={**environment, **more},
    )
    return json.loads(done.stdout), done.returncode, done.stderr


@pytest.mark.slow
def test_what_is_seen_agrees_with_the_truth_and_the_gateway_never_decodes(
    environment: dict[str, str],
) -> None:
    arguments = command("--json", "--seconds", "14", "--port", str(free_port()))
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        pid = int(re.search(r"pid (\d+)", demo.stderr.readline())[1])  # type: ignore[index]
        walks = 0
        while walks < 2 and (line := demo.stderr.readline()):  # the second one begins after 8.5 of the 14 s
            walks += "motion new" in line
        maps = Path(f"/proc/{pid}/maps").read_text()
        output, errors = demo.communicate()
        report = json.loads(output)
    assert not psutil.pid_exists(pid)
    assert re.search(r"/(cv2|av|av\.libs|onnxruntime)/", maps) is None
    assert demo.returncode == 0, (report, errors)
    assert report["ok"] is True
    assert [row["expected"]["state"] for row in report["motion"]] == ["closed", "closed"]
    assert report["frames"]["in"] == report["frames"]["sent"]
    assert report["latency_ms"]["motion"]["p95"] < 1000
    truth = json.loads(Path(report["truth_file"]).read_text())
    assert truth["motion"] == [{"start": 2.0, "end": 5.5}, {"start": 8.5, "end": 11.5}]


@pytest.mark.slow
def test_a_blinded_motion_is_exit_1(environment: dict[str, str]) -> None:
    report, code, _ = run(environment, 5, FRAMEGATE_ANALYZERS__MOTION__MIN_AREA="1")
    assert code == 1
    assert report["ok"] is False
    assert [row["problem"] for row in report["motion"]] == ["not seen"]


@pytest.mark.slow
def test_a_missing_motion_is_exit_1_without_a_long_wait(environment: dict[str, str]) -> None:
    began = time.monotonic()
    report, code, errors = run(environment, 4, FRAMEGATE_PLUGINS_OFF='["motion"]')
    assert (code, report["motion"][0]["problem"]) == (1, "not seen")
    assert "motion is not running" in errors
    assert time.monotonic() - began < 25


@pytest.mark.slow
def test_a_gateway_that_dies_is_exit_1_and_said(environment: dict[str, str]) -> None:
    arguments = command("--json", "--seconds", "30", "--port", str(free_port()))
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stderr is not None
        pid = int(re.search(r"pid (\d+)", demo.stderr.readline())[1])  # type: ignore[index]
        while "the scene begins" not in demo.stderr.readline():
            pass
        os.kill(pid, signal.SIGKILL)
        output, errors = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert "the gateway went away" in json.loads(output)["failure"]
    assert "Traceback" not in errors


def test_a_gateway_that_cannot_start_is_one_line(environment: dict[str, str]) -> None:
    done = subprocess.run(
        command("--seconds", "1"),
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment, "FRAMEGATE_LOG__FILE": "/no/such/x"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("demo: the gateway did not start")
    assert "Traceback" not in done.stderr


@contextmanager
def on_a_terminal(environment: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The demo with a terminal of its own, where Ctrl-C reaches its process group."""
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        yield demo, ours
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
        os.close(ours)


def read_until(terminal: int, text: str | None, seconds: float = 60) -> str:
    """What the terminal shows until `text`, or until its end if None."""
    shown, deadline = "", time.monotonic() + seconds
    while (text is None or text not in shown) and time.monotonic() < deadline:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux: EIO when the last user of the terminal is gone
            break
        if not chunk:
            break
        shown += chunk.decode()
    return shown


@pytest.mark.slow
def test_ctrl_c_ends_it_with_a_report_and_leaves_nothing_behind(environment: dict[str, str]) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with on_a_terminal(environment, "--port", str(port)) as (demo, terminal):
            shown = read_until(terminal, "motion new")
            gateway = int(re.search(r"pid (\d+)", shown)[1])  # type: ignore[index]
            family = [gateway, *(child.pid for child in psutil.Process(gateway).children(recursive=True))]
            os.killpg(demo.pid, signal.SIGINT)
            shown += read_until(terminal, None)
            assert demo.wait(30) == 0, shown
    assert f"port {port} is taken, using " in shown
    assert "they agree" in shown
    assert len(family) > 1
    assert [pid for pid in family if psutil.pid_exists(pid)] == []


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_nothing_behind(environment: dict[str, str]) -> None:
    with on_a_terminal(environment, "--port", str(free_port())) as (demo, terminal):
        time.sleep(1.0)
        children = psutil.Process(demo.pid).children(recursive=True)
        os.killpg(demo.pid, signal.SIGINT)
        read_until(terminal, None)
        demo.wait(30)
    assert [child.pid for child in children if child.is_running()] == []
