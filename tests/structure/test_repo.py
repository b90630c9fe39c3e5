"""What may lie in the repository: text that is ours, of this project alone, without traces of a machine."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import gateway
from tests.structure.source import ROOT, repository_files

MEDIA = {".onnx", ".pt", ".pth", ".engine", ".safetensors", ".mp4", ".mkv", ".mov", ".avi", ".webm", ".bin"}
MOST_BYTES = 400_000
HERE = Path(__file__)

# Spelled in halves, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile("(?<![\\w.])/(?:wo" + "rk|ho" + "me/[a-z]{2}|Us" + "ers/[a-z]{2}|ro" + "ot/)")
_HOSTS = ("py" + "pi[.]org", "python" + "hosted", "registry[.]npm" + "js", "npm" + "mirror", "index" + "-url")
REGISTRY = re.compile("|".join(_HOSTS))

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")


@needs_git
def test_no_weights_and_no_clips() -> None:
    assert [_place(path) for path in repository_files() if path.suffix.lower() in MEDIA] == []


@needs_git
def test_no_file_is_large() -> None:
    assert {_place(path): size for path in repository_files() if (size := path.stat().st_size) > MOST_BYTES} == {}


@needs_git
def test_no_path_of_somebodys_machine() -> None:
    assert list(_lines_with(MACHINE_PATH)) == []


@needs_git
def test_no_address_of_a_package_registry() -> None:
    assert list(_lines_with(REGISTRY)) == []


@needs_git
def test_nothing_is_left_to_do_in_silence() -> None:
    """What is not done is an issue, not a comment."""
    assert list(_lines_with(re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"))) == []


def test_constraints_are_exact_versions() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)] == []
    names = [_normal(line.partition("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_every_dependency_of_the_first_command_is_constrained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["test"], *extras["dev"], *extras["e2e"]]
    names = {_normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in wanted} - {"framegate"}
    fixed = {_normal(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - fixed == set()


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)\]?", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == gateway.__version__


def test_the_installed_version_is_this_version() -> None:
    assert version("framegate") == gateway.__version__, "install again: pip install -e ."


def test_the_client_has_the_same_version() -> None:
    package = json.loads((ROOT / "clients/js/package.json").read_text())
    assert package["version"] == gateway.__version__


def test_the_license_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def _lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in repository_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        if path not in (HERE, ROOT / "LICENSE"):
            for number, line in enumerate(text.splitlines(), 1):
                if pattern.search(line):
                    yield f"{_place(path)}:{number}: {line.strip()[:100]}"


def _place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
