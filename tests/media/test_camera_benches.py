"""The benches of pulled cameras run, and what they call broken."""

from __future__ import annotations

import pytest

from bench import cameras, mediachild
from bench.results import Heard
from tests.benches import run


@pytest.mark.e2e
@pytest.mark.slow
def test_cameras_are_analysed_beside_a_plain_loop() -> None:
    code, line = run("cameras", "--count", "3", "--seconds", "4", "--rounds", "1")
    if "skipped" in line:
        pytest.skip(line["skipped"])
    assert line["broken"] == []
    assert code == (3 if line["void"] else 0)
    assert line["cpu_ratio"] > 0


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_media_child_that_is_killed_or_stopped_leaves_nothing_behind() -> None:
    code, line = run("mediachild", "--count", "1", "--quiet", "2")
    if "skipped" in line:
        pytest.skip(line["skipped"])
    assert (line["left"], set(line["back_s"])) == ({}, {"SIGKILL", "SIGSTOP"})
    assert code == (3 if line["void"] else 0 if not line["broken"] else 1)


def test_results_that_are_missing_or_late_break_a_promise() -> None:
    heard = [Heard(0.0, 0.1)] * 90 + [Heard(0.0, 0.6)] * 10
    assert cameras._broken(cameras.Found(wished=100, heard=heard[:94], lost=1)) == [
        "0.940 of the wished results came, promised are 0.95",
        "1 cameras were lost",
    ]
    assert cameras._broken(cameras.Found(wished=100, heard=heard)) == [
        "0.900 of the results were there within 0.5 s, promised are 0.95"
    ]


def test_quiet_windows_and_rounds_are_set_against_each_other_and_a_busy_machine_says_nothing() -> None:
    found = mediachild.Found(quiet=[10.0, 8.0], beside=[9.5, 7.6], load=[0.5])
    assert found.ratio == pytest.approx(0.95)
    assert not found.void
    assert mediachild.Found(quiet=[10.0], beside=[9.0], load=[100.0]).void
    assert mediachild.Found(quiet=[3.0], beside=[3.0], load=[0.5]).void
