"""Distributions built and installed as a user would: wheels, and a fresh environment to put them in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of its own. Only third parties' libraries are borrowed from the one the tests run in."""

    folder: Path

    def command(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def run(self, name: str, *arguments: str, cwd: Path | None = None) -> str:
        """What a command of the environment prints. Raises `AssertionError` with its errors if it fails."""
        return call([self.command(name), *arguments], cwd=cwd or self.folder)

    def install(self, what: Path) -> None:
        """pip install, without asking an index for anything."""
        options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
        self.run("pip", "install", *options, str(what))

    def borrow_libraries(self) -> None:
        """From now on dependencies are found. A .pth inside the borrowed folder, such as our own, has no effect."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        place = self.folder / "lib" / version / "site-packages" / "borrowed.pth"
        place.write_text(sysconfig.get_path("purelib") + "\n")


def build_wheel(project: Path, target: Path) -> Path:
    """A wheel of a project, built with the backend that is installed here."""
    target.mkdir(parents=True, exist_ok=True)
    call([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(project)])
    (wheel,) = target.glob("*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path) -> Environment:
    """A fresh environment with a wheel of ours, and everything it depends on."""
    call([sys.executable, "-m", "venv", str(folder)])
    environment = Environment(folder)
    environment.install(wheel)  # before the rest is in sight, or pip would find ours installed already
    environment.borrow_libraries()
    return environment


def call(command: list[str], cwd: Path | None = None) -> str:
    foreign = ("FRAMEGATE_", "PYTHON", "VIRTUAL_ENV")
    ours = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    done = subprocess.run(command, cwd=cwd, env=ours, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
