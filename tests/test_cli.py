"""The command line as a process: quick help, one line for a user's mistake, nothing heavy before it is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.version import __version__

HEAVY = ("cv2", "av", "numpy", "onnxruntime", "fastapi", "starlette", "rich", "httpx2", "websockets")
COMMANDS = (
    *("serve", "demo", "push", "watch", "plugins", "doctor", "models", "config"),
    *("models_list", "models_pull", "models_verify", "config_show", "config_schema"),
    *("plugin", "plugin_new", "plugin_dev", "plugin_info", "plugin_test", "plugin_replay", "evaluate"),
)


def framegate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_takes_less_than_0_3_s_of_cpu() -> None:
    before = os.times()
    framegate("--help")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    assert loaded_by(*command.split("_"), "--help") & set(HEAVY) == set()


def test_help_loads_no_pydantic_either() -> None:
    assert loaded_by("--help") & {*HEAVY, "pydantic", "pydantic_core"} == set()


def loaded_by(*arguments: str) -> set[str]:
    """The modules that are loaded when a command line has run."""
    code = (
        "import sys, gateway.cli\n"
        f"sys.argv = ['framegate', *{list(arguments)!r}]\n"
        "try: gateway.cli.main()\n"
        "except SystemExit as done: assert not done.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


def test_version_is_printed() -> None:
    done = framegate("--version")
    assert (done.stdout, done.returncode) == (f"framegate {__version__}\n", 0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["push", "/no/such/file"], "push: /no/such/file: no such file, device or folder"),
        (["push", "tests", "--url", "ftp://x"], "push: expected http://HOST:PORT[/stream/ID], got 'ftp://x'"),
        (["watch", "http://127.0.0.1:9/"], "watch: http://127.0.0.1:9/ names no stream"),
        (["serve", "--config", "/no/such.toml"], "there is no settings file /no/such.toml"),
        (["serve", "--plugin", "/no/such.py"], "there is no plugin file /no/such.py"),
        (["models", "pull", "yolox_nan"], "there is no model yolox_nan; did you mean yolox_nano?"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_1(arguments: list[str], line: str) -> None:
    done = framegate(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_wrong_setting_is_named_without_a_traceback() -> None:
    done = framegate("config", "show", FRAMEGATE_PORT="eighty")
    assert done.returncode == 1
    assert "port" in done.stderr
    assert "'eighty'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["serve", "--prot", "1"], ["push"], ["nonsense"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    done = framegate(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
