"""The doctor's checks by value, and the command as a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands.doctor import (
    check_confinement,
    check_environment,
    check_home,
    check_port,
    check_python,
    check_weights,
)
from gateway.commands.finding import Finding
from gateway.commands.libraries import ask, installed_of, repair
from gateway.commands.ports import is_free, next_free
from gateway.engine import landlock


@pytest.mark.parametrize(("version", "state"), [((3, 11, 7), "ok"), ((3, 10, 1), "broken"), ((3, 15, 0), "broken")])
def test_python_must_be_one_we_run_on(version: tuple[int, ...], state: str) -> None:
    assert check_python(version).state == state


def test_twins_are_found_whatever_their_spelling() -> None:
    found = [("OpenCV_Python", "4.12"), ("opencv-python-headless", "5.0"), ("numpy", "2")]
    assert installed_of(("opencv-python", "opencv-python-headless"), found) == {
        "opencv-python": "4.12",
        "opencv-python-headless": "5.0",
    }


def test_the_repair_removes_every_twin_before_it_installs_one() -> None:
    command = repair({"opencv-python": "4", "opencv-python-headless": "5"}, "opencv-python-headless")
    removed, _, installed = command.partition(" && ")
    assert removed == f"{sys.executable} -m pip uninstall -y opencv-python opencv-python-headless"
    assert installed.startswith(f"{sys.executable} -m pip install --force-reinstall --no-deps ")
    assert "opencv-python-headless" in installed


def test_the_repair_keeps_to_our_own_range_and_takes_no_name_for_another() -> None:
    assert 'opencv-python-headless<6,>=5"' in repair(["opencv-python"], "opencv-python-headless")
    assert repair(["onnxruntime", "onnxruntime-gpu"], "onnxruntime").endswith('"onnxruntime<2,>=1.27"')


def test_a_library_that_crashes_is_an_answer() -> None:
    assert ask("import os; os.abort()") == {"error": "exit code -6"}
    assert ask("import nothing_like_that") == {"error": "ModuleNotFoundError: No module named 'nothing_like_that'"}
    assert ask("print('noise'); print('{\"version\": 1}')") == {"version": 1}


def test_a_data_folder_that_can_be_made_is_fine_and_is_not_made(tmp_path: Path) -> None:
    assert check_home(tmp_path / "new" / "deep").state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_below_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = check_home(tmp_path / "file" / "home")
    assert finding.state == "broken"
    assert "FRAMEGATE_HOME" in finding.remedy


def test_a_taken_port_is_broken_and_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert next_free("127.0.0.1", port) > port
        assert check_port("127.0.0.1", port).state == "broken"
    assert check_port("127.0.0.1", 0).state == "ok"


def test_an_address_of_another_machine_is_a_line() -> None:
    with pytest.raises(SystemExit, match=r"cannot listen on 192\.0\.2\.1"):
        is_free("192.0.2.1", 0)


def test_variables_in_effect_are_shown_masked_and_slips_are_named() -> None:
    known = {"FRAMEGATE_GRACE_S", "FRAMEGATE_AUTH_TOKEN", "FRAMEGATE_LIMITS"}
    environment = {
        "FRAMEGATE_AUTH_TOKEN": "hush",
        "FRAMEGATE_GRACES": "3",
        "FRAMEGATE_LIMITS__MAX_FPS": "9",
        "FRAMEGATE_OFFLINE": "1",
        "PATH": "/bin",
    }
    assert list(check_environment(environment, known)) == [
        Finding("FRAMEGATE_AUTH_TOKEN", "ok", "***"),
        Finding("FRAMEGATE_GRACES", "note", "no setting has this name", "did you mean FRAMEGATE_GRACE_S?"),
        Finding("FRAMEGATE_LIMITS__MAX_FPS", "ok", "9"),
        Finding("FRAMEGATE_OFFLINE", "ok", "1"),
    ]


def test_missing_weights_are_a_note_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "cigarette_yolov8n.onnx").write_bytes(b"")
    findings = {finding.subject: finding for finding in check_weights([tmp_path])}
    assert findings["weights: smoking"].state == "ok"
    assert findings["weights: objects"].remedy == "framegate models pull yolox_nano"
    assert {finding.state for finding in findings.values()} == {"ok", "note"}


def test_what_plugins_can_be_kept_from_is_found_by_trying() -> None:
    assert {finding.subject for finding in check_confinement(wanted=True)} == {
        *("plugins confined: network", "plugins confined: files"),
        *("plugins confined: signals", "plugins confined: memory"),
    }
    by_name = {finding.subject.rpartition(" ")[2]: finding for finding in check_confinement(wanted=True)}
    if landlock.abi() >= 6:
        assert by_name["files"] == Finding("plugins confined: files", "ok", f"landlock {landlock.abi()}")
    else:
        assert by_name["signals"].text in ("seccomp", by_name["network"].text)
    (off,) = check_confinement(wanted=False)
    assert off.state == "note"


def test_the_command_ends_with_0_on_this_machine(tmp_path: Path) -> None:
    environment = {**os.environ, "FRAMEGATE_HOME": str(tmp_path), "FRAMEGATE_PORT": "0"}
    command = [sys.executable, "-m", "gateway", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    report = json.loads(done.stdout)
    assert (report["ok"], done.returncode) == (True, 0)
    assert {"python", "opencv", "onnxruntime", "ffmpeg", "gpu"} <= {item["subject"] for item in report["findings"]}
