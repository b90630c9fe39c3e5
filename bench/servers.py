"""The two sides of a comparison, each a child process on a free loopback port: the gateway as people start it, and a
bare server of `bench.bare`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from bench.cores import Cores, pinned

ROOT = Path(__file__).parent.parent
START_S = 30.0
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")

Address = tuple[str, int]


class Server:
    """A running server, seen from outside."""

    def __init__(self, address: Address, pid: int, folder: Path) -> None:
        self.address = address
        self.pid = pid
        self.folder = folder
        self._process = psutil.Process(pid)

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.folder / "log"

    @property
    def temporary(self) -> Path:
        """The folder that it and its children take for temporary files."""
        return self.folder / "tmp"

    def cpu_s(self) -> float:
        """CPU time its process has used, without its children."""
        return _cpu_s(self._process)

    def family_cpu_s(self) -> float:
        """The same with its workers, as long as they live."""
        return sum(map(_cpu_s, [self._process, *self._process.children(recursive=True)]))

    def whole_cpu_s(self) -> float:
        """The same with those that have died since."""
        times = self._process.cpu_times()
        living = sum(map(_cpu_s_if_there, self._process.children(recursive=True)))
        return _cpu_s(self._process) + float(times.children_user + times.children_system) + living

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, json.dumps(body))

    def wait_for_analyzers(self, names: Iterable[str]) -> None:
        """Until the gateway knows of these. A plugin that takes long to import, as on a busy machine, joins late."""
        end = time.monotonic() + 2 * START_S
        while missing := set(names) - {item["name"] for item in self.get("/api/analyzers")["items"]}:
            if time.monotonic() > end:
                raise RuntimeError(f"no analyzer {min(missing)} after {2 * START_S:.0f} s: {self.get('/api/plugins')}")
            time.sleep(0.1)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = HTTPConnection(*self.address, timeout=30.0)  # the first answer waits for the workers
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status not in (200, 204):
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text) if text else None


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cpu_s_if_there(process: psutil.Process) -> float:
    try:
        return _cpu_s(process)
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def gateway(cores: Cores, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`framegate serve` with nobody's settings but these (`FRAMEGATE_` keys) and a data folder of its own."""
    ours = {key: value for key, value in os.environ.items() if key == "FRAMEGATE_MODELS_DIR"}
    with tempfile.TemporaryDirectory(prefix="framegate-bench-") as folder:
        rules = {"FRAMEGATE_HOME": f"{folder}/home", "FRAMEGATE_LOG__LEVEL": "WARNING", **ours, **(settings or {})}
        with _running(["-m", "gateway", "serve", "--port", "0"], rules, cores, Path(folder)) as server:
            yield server


@contextmanager
def bare(job: str, cores: Cores) -> Iterator[Server]:
    """The plain server for a job: `ingest`, `fanout` or `relay`."""
    with (
        tempfile.TemporaryDirectory(prefix="framegate-bench-") as folder,
        _running(["-m", "bench.bare", job], {}, cores, Path(folder)) as server,
    ):
        yield server


@contextmanager
def stock(cores: Cores) -> Iterator[Server]:
    """`bench.stock`: what the same frameworks do by default."""
    with (
        tempfile.TemporaryDirectory(prefix="framegate-bench-") as folder,
        _running(["-m", "bench.stock"], {}, cores, Path(folder)) as server,
    ):
        yield server


@contextmanager
def _running(arguments: list[str], rules: Mapping[str, str], cores: Cores, folder: Path) -> Iterator[Server]:
    """Start it in its own folder, where no settings file lies; wait until it has said its address; stop it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    (folder / "tmp").mkdir()
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp"), **rules}
    log = folder / "log"
    with log.open("wb") as output, pinned(cores):
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Server(("127.0.0.1", _port(process, log)), process.pid, folder)
    except Exception:
        print("The server's last words:", log.read_text(errors="replace")[-4000:], sep="\n", file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _ADDRESS.search(log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
