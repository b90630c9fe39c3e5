"""`framegate plugin new`: what it makes works as it is, and what it refuses it refuses with the right word."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import cv2
import pytest
from packaging.requirements import Requirement

from gateway.commands.plugin_new import LICENCES, New, plugin_new
from gateway.engine.plugins import PluginSpec, load
from gateway.version import __version__

pytestmark = pytest.mark.slow


def made(folder: Path, name: str = "door-watch", **wish: str) -> Path:
    assert plugin_new(New(name, folder, **wish)) == 0  # type: ignore[arg-type]
    return folder / f"framegate-{name.replace('_', '-')}"


def test_a_package_has_everything_from_the_first_moment(tmp_path: Path) -> None:
    top = made(tmp_path)
    files = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}
    assert {path for path in files if not path.startswith("frames/")} == {
        *(".github/workflows/test.yml", ".gitignore", "LICENSE", "README.md", "conftest.py", "pyproject.toml"),
        *("framegate_door_watch.py", "tests/drawing.py", "tests/test_door_watch.py"),
    }
    assert len({path for path in files if path.startswith("frames/")}) == 40
    drawn = cv2.imread(str(top / "frames/0020.jpg"))
    assert drawn is not None
    assert drawn.shape == (270, 480, 3)
    texts = {path: (top / path).read_text() for path in files if not path.startswith("frames/")}
    assert [path for path, text in texts.items() if "$" in text.replace("${{", "")] == []


@pytest.mark.parametrize("name", ["door-watch", "plate_reader", "x"])
def test_its_analyzer_loads_at_once(tmp_path: Path, name: str) -> None:
    top = made(tmp_path, name)
    loaded = load([PluginSpec(name, path=str(next(top.glob("framegate_*.py"))))])
    assert loaded.failed == {}
    about = loaded.manifests[name]
    assert (about.event_types, about.labels, about.missing) == ((f"{name}.seen",), ("thing",), None)


def test_its_own_tests_pass(tmp_path: Path) -> None:
    top = made(tmp_path)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(run, cwd=top, capture_output=True, text=True, env=_environment(top), timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_its_own_tests_can_fail(tmp_path: Path) -> None:
    top = made(tmp_path)
    module = top / "framegate_door_watch.py"
    module.write_text(module.read_text().replace("x / across", "0.0"))
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(run, cwd=top, capture_output=True, text=True, env=_environment(top), timeout=100)
    assert "1 failed, 3 passed" in done.stdout


def _environment(top: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(top), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_package_says_what_it_needs_and_who_made_it(tmp_path: Path) -> None:
    top = made(tmp_path, "plate_reader", author='Ann "A" Lee <ann@example.org>', licence="BSD-3-Clause")
    project = tomllib.loads((top / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"]) == ("framegate-plate-reader", "BSD-3-Clause")
    assert project["authors"] == [{"name": 'Ann "A" Lee', "email": "ann@example.org"}]
    assert project["entry-points"] == {"framegate.plugins": {"plate_reader": "framegate_plate_reader"}}
    (need,) = map(Requirement, project["dependencies"])
    assert need.name == "framegate"
    assert version("framegate") in need.specifier
    assert f"{int(__version__.split('.')[0]) + 1}.0" not in need.specifier


@pytest.mark.parametrize("licence", LICENCES)
def test_the_licence_is_the_one_that_was_asked_for(tmp_path: Path, licence: str) -> None:
    top = made(tmp_path, licence=licence, author="Ann Lee")
    project = tomllib.loads((top / "pyproject.toml").read_text())["project"]
    if licence == "none":
        assert "license" not in project
        assert not (top / "LICENSE").exists()
        return
    words = {"MIT": "Copyright (c) ", "BSD-3-Clause": "Neither the name", "Apache-2.0": "END OF TERMS AND CONDITIONS"}
    text = (top / "LICENSE").read_text()
    assert project["license"] == licence
    assert words[licence] in text
    assert "Ann Lee" in text or licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Door Watch", "did you mean door-watch?"),
        ("DoorWatch", "did you mean door-watch?"),
        ("door.watch", "did you mean door-watch?"),
        ("door--watch", "did you mean door-watch?"),
        ("door_", "did you mean door?"),
        ("3doors", "did you mean doors?"),
        ("framegate-door", "did you mean door?"),
        ("тест", "did you mean my-analyzer?"),
        ("a" * 41, f"did you mean {'a' * 40}?"),
        ("motion", "there is an analyzer motion already, of framegate; choose another name"),
    ],
)
@pytest.mark.parametrize("function", [False, True])
def test_a_name_that_will_not_do_is_refused_with_the_nearest(
    tmp_path: Path, name: str, hint: str, function: bool
) -> None:
    with pytest.raises(SystemExit) as refused:
        plugin_new(New(name, tmp_path, function=function))
    assert str(refused.value).endswith(hint)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    top = made(tmp_path)
    (top / "README.md").write_text("mine")
    with pytest.raises(SystemExit, match="framegate-door-watch is there already"):
        made(tmp_path)
    assert (top / "README.md").read_text() == "mine"
    (tmp_path / "night.py").write_text("mine")
    with pytest.raises(SystemExit, match=r"night\.py is there already"):
        plugin_new(New("night", tmp_path, function=True))
    assert (tmp_path / "night.py").read_text() == "mine"


def test_an_unknown_licence_and_a_folder_that_is_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no licence apache here; did you mean Apache"):
        made(tmp_path, licence="apache")
    (tmp_path / "file").touch()
    for function in (False, True):
        with pytest.raises(SystemExit, match=r"plugin new: .*file.*: (Not a directory|File exists)$"):
            plugin_new(New("night", tmp_path / "file", function=function))


@pytest.mark.parametrize("function", [False, True])
def test_the_folder_it_is_to_lie_in_is_made(tmp_path: Path, *, function: bool) -> None:
    assert plugin_new(New("night", tmp_path / "not" / "yet", function=function)) == 0
    assert [path.name for path in (tmp_path / "not" / "yet").iterdir()] == [
        "night.py" if function else "framegate-night"
    ]


@pytest.mark.parametrize("name", ["darkness", "dark-night", "class"])
def test_a_function_plugin_is_one_file_of_five_lines_that_loads(tmp_path: Path, name: str) -> None:
    assert plugin_new(New(name, tmp_path, function=True)) == 0
    (file,) = tmp_path.iterdir()
    assert len([line for line in file.read_text().splitlines() if line]) <= 5
    assert list(load([PluginSpec(name, path=str(file))]).analyzers) == [name]
