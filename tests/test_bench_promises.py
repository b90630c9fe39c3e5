"""The benches that hold the gateway to a promise: what they call broken, and that they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import batch, fair, faults, orphans, workers
from bench.child import child
from bench.comparison import Case, Window
from bench.crowd import Seen, analyzed
from bench.foreign import FAULTS, bad_plugin
from bench.leftovers import Traces, relatives
from bench.observer import Observer
from bench.websocket import TEXT, packed
from tests.benches import run

# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.slow
def test_faults_of_one_of_twenty_plugins_break_no_promise() -> None:
    code, line = run("faults", "--faults", "8", "--seconds", "4", "--alone", "2")
    assert line["broken"] == []
    assert code == (3 if line["void"] else 0)
    assert line["default_limit"]["events"] == 1


@pytest.mark.e2e
@pytest.mark.slow
def test_streams_share_a_slow_analyzer_evenly() -> None:
    code, line = run("fair", "--seconds", "5")
    assert (line["broken"], line["apart"] <= 1) == ([], True)
    assert code == (3 if line["void"] else 0)


@pytest.mark.e2e
@pytest.mark.slow
def test_nothing_outlives_a_gateway_that_is_killed() -> None:
    code, line = run("orphans", "--kills", "2")
    assert (code, line["kills"], line["survivors"]) == (0, 2, {})


@pytest.mark.e2e
@pytest.mark.slow
def test_ways_to_run_an_analyzer_are_compared_for_each_frame_size() -> None:
    code, line = run("workers", "--seconds", "0.2", "--rounds", "1")
    ratios = {key: value for key, value in line.items() if key.endswith("_ratio")}
    assert (code, all(value > 0 for value in ratios.values())) == (0, True)
    assert {f"motion_{width}x{height}_{way}_ratio" for width, height in workers.SIZES for way in workers.WAYS[:2]} <= (
        ratios.keys()
    )


# --- faults ----------------------------------------------------------------------------------------------------------


def phase(offered: int, done: int) -> faults.Phase:
    return faults.Phase(offered, done, [10.0, 11.0], 0.8, late=False)


def test_frames_beside_are_set_against_what_was_offered() -> None:
    """Phases beside the bad one are longer than those without it, so it is shares that are compared."""
    found = faults.Found(alone=[phase(100, 100)], beside=[phase(400, 380), phase(400, 400)])
    assert found.ratio == pytest.approx(0.975)


def test_a_promise_that_is_kept_says_nothing() -> None:
    found = faults.Found()
    found.promise(True, "kept")
    found.promise(False, "left behind: {'threads': 1}")
    assert found.broken == ["left behind: {'threads': 1}"]


def test_the_bad_plugin_does_all_that_is_known_and_says_so_before(tmp_path: Path) -> None:
    text = bad_plugin(tmp_path).read_text()
    assert [f'"{fault}":' in text for fault in FAULTS] == [True] * len(FAULTS)
    compile(text, "bad.py", "exec")


def test_only_what_there_is_more_of_is_left_behind() -> None:
    before, after = Traces(21, 0, 9, 40, 2, 0), Traces(20, 1, 9, 43, 2, 0)
    assert after.beyond(before) == {"zombies": 1, "descriptors": 3}


def test_a_process_is_told_by_the_folder_in_its_environment(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(); input()"],
        env={"FRAMEGATE_HOME": f"{tmp_path}/home"},
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert relatives(tmp_path) == {process.pid}
        process.communicate(b"\n")
    assert relatives(tmp_path) == set()


class Wire:
    """A connection with this to read."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._data = [_unmasked(json.dumps(message).encode()) for message in messages]

    def recv(self, size: int) -> bytes:
        return self._data.pop(0) if self._data else b""


def _unmasked(payload: bytes) -> bytes:
    """As a server sends it: no mask."""
    message = packed(TEXT, payload)
    head = 2 if len(payload) < 126 else 4
    return bytes([message[0], message[1] & 0x7F]) + message[2:head] + payload


def test_an_observer_writes_down_each_change_once() -> None:
    told: list[dict[str, Any]] = [
        {"type": "hello", "analyzers": [{"name": "bad", "state": "ready"}, {"name": "light_0", "state": "loading"}]},
        {"type": "status", "analyzers": [{"name": "bad", "state": "ready"}]},
        {"type": "result", "analyzers": {"light_0": {"state": "ready"}, "bad": {"state": "open"}}},
        {"type": "event", "event_type": "analyzer_failed", "phase": "new"},
        {"type": "status", "analyzers": [{"name": "bad", "state": "loading"}]},
        {"type": "status", "analyzers": [{"name": "bad", "state": "ready"}]},
    ]
    observer = Observer(Wire(*told), "bad")  # type: ignore[arg-type]
    observer.read()
    assert (observer.states, observer.departures()) == (["ready", "open", "loading", "ready"], 1)
    assert [event["phase"] for event in observer.events] == ["new"]


# --- fair, orphans, workers ------------------------------------------------------------------------------------------


def test_a_stream_that_is_ahead_for_a_moment_is_found() -> None:
    seen = Seen(sent=10, ages={"busy": [[100.0], [120.0]]})
    found = fair.Found([[1, 1], [3, 1], [3, 3]], seen, call_ms=50.0)
    assert fair._unfair(found) == ["a stream was 2 calls ahead of another, allowed is 1"]


def test_a_result_older_than_all_streams_calls_and_a_frame_is_found() -> None:
    found = fair.Found([[1, 1]], Seen(ages={"busy": [[1400.0]]}), call_ms=50.0)
    assert fair._late(found) == ["a result was 1400 ms old, allowed is 1350"]


def test_unfairness_is_told_even_when_the_load_was_late_and_age_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    late = Seen(sent=10, late=10, ages={"busy": [[100.0], [9000.0]]})
    assert fair._report(fair.Found([[3, 3]], late, call_ms=50.0)) == 3
    assert fair._report(fair.Found([[5, 1]], late, call_ms=50.0)) == 1
    assert "BROKEN: a stream was 4 calls ahead" in capsys.readouterr().out


def test_batches_that_are_unfair_are_told_even_when_the_load_was_late(capsys: pytest.CaptureFixture[str]) -> None:
    late = Window(1.0, load_bound=True)
    case = Case("batch_1", lambda _: late, lambda _: late, [late], [late])
    side = batch.Side(1, None, None, b"", ages=[1.0, 2.0], apart=batch.MOST_APART + 1)  # type: ignore[arg-type]
    assert batch._report([side], [case]) == 1
    side.apart = 0
    assert batch._report([side], [case]) == 3
    assert "BROKEN" in capsys.readouterr().out


def _die(pipe: object) -> None:
    os._exit(1)


def test_a_child_that_dies_is_no_reason_to_wait() -> None:
    with child(_die) as pipe, pytest.raises(EOFError):
        pipe.recv()


def test_a_crowd_that_sends_late_says_nothing_of_the_gateway() -> None:
    assert [Seen(sent=100, late=late).void for late in (0, 2, 3)] == [False, False, True]


def test_a_survivor_fails_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    found = orphans.Found([9, 9], [0.1, 5.0], Counter({"process sleep": 1}))
    assert orphans._report(found) == 1
    assert "BROKEN: 1 times after 5 s: process sleep" in capsys.readouterr().out


def test_ways_are_compared_round_by_round() -> None:
    case = workers.Case("motion", (320, 240), [])
    case.samples["process"] = [workers.Sample(90, 3.0, 0.2), workers.Sample(9, 30.0, 0.2)]
    case.samples["inline"] = [workers.Sample(100, 2.0, 0.0), workers.Sample(10, 29.0, 0.0)]
    assert (case.ratios("process"), case.added("process")) == ([0.9, 0.9], 1.0)


def test_analyzers_that_are_not_meant_are_not_counted() -> None:
    stream = {"analyzers": [{"name": "bad", "analyzed": 5}, {"name": "light_0", "analyzed": 7}]}
    assert (analyzed(stream), analyzed(stream, but=("bad",))) == (12, 7)
