"""The benches run, and end with the one line of JSON that machines read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.comparison import Case, Window, report
from bench.websocket import BINARY, TEXT, Inbox, packed

ROOT = Path(__file__).parent.parent

KEYS = {
    "ingest": {"text_ratio", "binary_ratio"},
    "fanout": {"mjpeg_1_ratio", "mjpeg_50_ratio", "mjpeg_200_ratio"},
    "latency": {"latency_1_ratio", "latency_20_ratio"},
    "analyze": {"sessions_1_ratio", "sessions_8_ratio"},
}


def run(bench: str, environment: dict[str, str]) -> tuple[int, str, dict[str, Any]]:
    """A bench with the smallest counts: its exit code, what it printed and its last line."""
    command = [sys.executable, "-m", f"bench.{bench}", "--seconds", "0.3", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.stdout, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, done.stdout, line


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("bench", KEYS)
def test_a_bench_ends_with_a_line_of_json_whose_quotients_are_numbers(bench: str) -> None:
    code, _, line = run(bench, dict(os.environ))
    if "skipped" in line:
        pytest.skip(line["skipped"])
    assert code == (3 if line["void"] else 0)
    assert {key for key in line if "ratio" in key} == KEYS[bench]
    assert all(line[key] > 0 for key in KEYS[bench])


@pytest.mark.e2e
@pytest.mark.slow
def test_analyze_without_weights_says_so_and_is_no_failure(tmp_path: Path) -> None:
    code, text, line = run("analyze", {**os.environ, "FRAMEGATE_MODELS_DIR": str(tmp_path)})
    assert (code, list(line)) == (0, ["bench", "skipped"])
    assert "skipped, yolov8n.onnx is not under FRAMEGATE_MODELS_DIR" in text


def case(ours: list[Window], theirs: list[Window]) -> Case:
    return Case("text", lambda _: ours[0], lambda _: theirs[0], ours, theirs)


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return line


def test_sides_are_compared_round_by_round(capsys: pytest.CaptureFixture[str]) -> None:
    """The second round was slow for both, as when somebody else uses the machine: that says nothing of either."""
    ours = [Window(80, 1.0, 0.2), Window(9, 1.0, 0.2), Window(80, 1.0, 0.2)]
    theirs = [Window(100, 1.0, 0.2), Window(10, 1.0, 0.2), Window(100, 1.0, 0.2)]
    assert report("ingest", [case(ours, theirs)], unit="frames/s") == 0
    line = last_line(capsys)
    assert (line["text_ratio"], line["text"]["gateway"]["median"], line["void"]) == (0.8, 80, False)


def test_a_run_that_its_generator_held_back_is_void(capsys: pytest.CaptureFixture[str]) -> None:
    held_back = Window(80, server=0.6, generator=0.99, load_bound=True)
    assert report("ingest", [case([held_back], [Window(100, 1.0, 0.5)])], unit="frames/s") == 3
    assert last_line(capsys)["void"] is True


def test_a_saturated_server_is_the_limit_however_busy_the_generator() -> None:
    assert not Window(80, server=1.0, generator=0.99, load_bound=True).void


def test_no_other_key_looks_like_a_quotient(capsys: pytest.CaptureFixture[str]) -> None:
    report("ingest", [case([Window(80, 1.0, 0.2)], [Window(100, 1.0, 0.2)])], unit="frames/s")
    text = json.dumps(last_line(capsys))
    assert text.count("ratio") == 1


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_message_is_packed_as_rfc_6455_has_it(length: int) -> None:
    payload = bytes(length)
    head = {0: b"\x80", 125: b"\xfd", 126: b"\xfe\0\x7e", 65_535: b"\xfe\xff\xff", 65_536: b"\xff" + HEADER_64K}
    assert packed(BINARY, payload) == b"\x82" + head[length] + bytes(4) + payload


HEADER_64K = bytes(5) + b"\x01\0\0"


def test_messages_are_cut_wherever_the_network_cuts_them() -> None:
    sent = [(TEXT, b"hello"), (BINARY, bytes(300)), (BINARY, bytes(70_000))]
    stream = b"\x81\x05hello" + b"\x82\x7e\x01\x2c" + bytes(300) + b"\x82\x7f" + (70_000).to_bytes(8) + bytes(70_000)
    inbox, got = Inbox(), []
    for start in range(0, len(stream), 7):
        inbox.feed(stream[start : start + 7])
        while (message := inbox.take()) is not None:
            got.append(message)
    assert got == sent
