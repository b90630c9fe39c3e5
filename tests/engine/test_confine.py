"""Confinement for real: hostile plugin files in a worker process, and the same ones in one that gives nothing up."""

from __future__ import annotations

import ast
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.analyzer import Analyzer
from gateway.engine import confine, landlock, seccomp
from gateway.engine.environment import approved, worker_environment
from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import BUILT_IN, PluginSpec, approve, denied, discover
from gateway.engine.worker import ProcessWorker, WorkerSetup
from gateway.settings import Settings
from tests.engine import tricks

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are confined on Linux only"),
]
needs_landlock = pytest.mark.skipif(landlock.abi() < 6, reason="this kernel has no Landlock ABI 6")
needs_seccomp = pytest.mark.skipif(platform.machine() not in seccomp.ARCHITECTURES, reason="no filter for this machine")

# Whether a trick works when nothing is taken depends on this machine for these.
UNSURE = {"io_uring", "new_user_namespace"}


@dataclass(frozen=True)
class Place:
    """A data folder with secrets, somebody's home, listeners and a bystander."""

    home: Path
    plugins: list[Path]

    def settings(self, **more: Any) -> Settings:
        return Settings(home=self.home, models_dir="", yolo_model_path="", **more)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = tmp_path / "home"
    for name in ("secrets/token", "framegate.db", "plugin-data/other/state", "loose", "spare", "long"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("canary")
    for folder in (home / "plugins", tmp_path / "user" / ".ssh", tmp_path / "library", tmp_path / "files"):
        folder.mkdir(parents=True)
    (tmp_path / "user" / ".ssh" / "id_ed25519").write_text("canary")
    (tmp_path / "library" / "somebodys.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "user"))  # the control's tricks leave things there
    abstract = f"framegate-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed,
        subprocess.Popen(["sleep", "300"]) as bystander,
    ):
        unix.bind(str(tmp_path / "daemon.sock"))
        unix.listen()
        unnamed.bind("\0" + abstract)
        values = {
            "home": str(home),
            "secret": str(home / "secrets" / "token"),
            "user": str(tmp_path / "user"),
            "library": str(tmp_path / "library" / "somebodys.py"),
            "victim": bystander.pid,
            "port": tcp.getsockname()[1],
            "socket": str(tmp_path / "daemon.sock"),
            "abstract": abstract,
        }
        yield Place(home, tricks.write(tmp_path / "files", values))
        bystander.kill()


def file(path: Path) -> PluginSpec:
    return PluginSpec(path.stem, path=str(path), version="file")


async def hello(settings: Settings, specs: list[PluginSpec]) -> dict[str, Any]:
    """What a worker of these plugins says."""
    environment = {**worker_environment(settings, specs), "FRAMEGATE_CHILD_LOG": "CRITICAL"}
    worker = ProcessWorker(WorkerSetup(tuple(approved(settings, specs)), {}, environment, nice=0))
    try:
        return await worker.start()
    finally:
        await worker.close()


async def outcomes(place: Place, **settings: Any) -> dict[str, str]:
    """How each trick went, by name. One worker for all of them, as for one hostile distribution with many modules."""
    said = await hello(place.settings(**settings), [file(path) for path in place.plugins])
    assert said["failed"] == {}
    return {item["name"]: item["title"] for item in said["analyzers"]}


@needs_landlock
@needs_seccomp
async def test_no_trick_of_a_hostile_plugin_works(place: Place) -> None:
    found = await outcomes(place)
    assert {name for name, outcome in found.items() if not outcome.startswith("refused")} == set()
    assert found.keys() == tricks.TRICKS.keys()


async def test_every_trick_works_where_nothing_is_taken(place: Place) -> None:
    """The control: without it the test above would pass for plugins that do nothing."""
    found = await outcomes(place, analysis={"confine": False})
    refused = {name: outcome for name, outcome in found.items() if outcome != "worked" and name not in UNSURE}
    assert refused == {}


HONEST = """
import asyncio, os, socket, sqlite3, subprocess, tempfile, threading
from pathlib import Path
import cv2, numpy
from gateway import Analyzer, Result, hookimpl

class Honest(Analyzer):
    name = "honest"

    @classmethod
    def missing(cls, options):
        scratch = Path(tempfile.gettempdir())
        assert scratch == Path.home() == Path(os.environ["XDG_CACHE_HOME"]) and scratch.stat().st_mode & 0o777 == 0o700
        (scratch / "folder").mkdir()
        (scratch / "folder" / "a").write_text("kept")
        os.rename(scratch / "folder" / "a", scratch / "b")
        with sqlite3.connect(scratch / "own.db") as database:
            database.execute("create table numbers (number)")
        sleeping = subprocess.Popen(["sleep", "60"])
        sleeping.terminate()
        assert sleeping.wait(10) == -15
        assert subprocess.run(["python3", "-c", "print(6 * 7)"], capture_output=True).stdout == b"42\\n"
        threads = [threading.Thread(target=numpy.ones, args=(9,)) for _ in range(9)]
        [thread.start() for thread in threads]
        asyncio.run(asyncio.sleep(0))
        assert cv2.imencode(".jpg", numpy.zeros((8, 8, 3), numpy.uint8))[0]
        labels = Path(__file__).with_suffix("") / "labels.txt"
        return labels.read_text() + Path(os.environ["FRAMEGATE_HOME"], "models", "weights").read_text()

    def analyze(self, frame, memory):
        return Result()

@hookimpl
def register_analyzers():
    return [Honest]
"""


@needs_landlock
async def test_an_honest_plugin_misses_nothing(tmp_path: Path) -> None:
    (tmp_path / "honest").mkdir()
    (tmp_path / "honest" / "labels.txt").write_text("cat ")
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "weights").write_text("heavy")
    (tmp_path / "honest.py").write_text(HONEST)
    settings = Settings(home=tmp_path / "home", models_dir="", yolo_model_path="")
    for expected in ("cat heavy", "FileExistsError"):  # what it wrote is there when it is started again
        (said,) = (await hello(settings, [file(tmp_path / "honest.py")]))["analyzers"]
        assert expected in (said["missing"] or said["failed"])


async def test_a_plugin_inherits_the_socket_and_the_standard_streams_alone(tmp_path: Path) -> None:
    look = """
def look():
    places = [f"/proc/self/fd/{number}" for number in range(3, 200)]
    return repr([os.readlink(place).split(":")[0] for place in places if os.path.lexists(place)])
"""
    looking = HONEST.replace("class ", look + "class ").replace(
        'name = "honest"', 'name = "honest"\n    title = look()'
    )
    (tmp_path / "honest.py").write_text(looking)
    settings = Settings(home=tmp_path / "home", models_dir="", yolo_model_path="")
    (said,) = (await hello(settings, [file(tmp_path / "honest.py")]))["analyzers"]
    assert said["title"] == "['socket']"


@needs_landlock
@needs_seccomp
async def test_what_was_granted_is_left(place: Place) -> None:
    granted = [path for path in place.plugins if path.stem in ("tcp", "udp", "secrets_file", "chmod", "stop_a_process")]
    worked = {}
    for permission in ("network", "files"):
        settings = place.settings(plugin_permissions={path.stem: [permission] for path in granted})
        said = (await hello(settings, [file(path) for path in granted]))["analyzers"]
        worked[permission] = {item["name"] for item in said if item["title"] == "worked"}
    assert worked == {"network": {"tcp", "udp"}, "files": {"secrets_file", "chmod"}}


@needs_landlock
@needs_seccomp
async def test_a_worker_says_what_was_taken_from_it_and_by_what(place: Place) -> None:
    spec = file(place.plugins[0])
    by = f"landlock {landlock.abi()}"
    taken = {"network": "seccomp", "files": by, "signals": by, "memory": by}
    assert (await hello(place.settings(), [spec]))["confined"] == taken
    network = place.settings(plugin_permissions={spec.owner: ["network"]})
    assert (await hello(network, [spec]))["confined"] == {**taken, "network": "granted"}
    off = place.settings(analysis={"confine": False})
    assert set((await hello(off, [spec]))["confined"].values()) == {"not enforced: switched off"}


@needs_landlock
@needs_seccomp
async def test_built_ins_keep_files_and_nothing_else(place: Place) -> None:
    ours = [spec for spec in discover() if spec.distribution == BUILT_IN]
    said = await hello(place.settings(), ours)
    by = f"landlock {landlock.abi()}"
    assert said["confined"] == {"network": "seccomp", "files": "granted", "signals": by, "memory": by}
    assert {"motion", "objects"} <= {item["name"] for item in said["analyzers"]}
    assert said["failed"] == {}


def confined(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has confined itself."""
    head = f"from gateway.engine import confine, landlock, seccomp\nimport os\n{more.pop('before', '')}\n"
    text = head + "report = confine.confine(confine.Confinement(network=False, files=True))\n" + code
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)


NO_LANDLOCK = "landlock.abi = lambda: 0"
OLD_LANDLOCK = "landlock.abi = lambda: 3"
TRY_KILL = """
import signal, subprocess
def attempt(what, *arguments):
    try:
        what(*arguments)
        return "done"
    except OSError as error:
        return error.strerror
signal.signal(signal.SIGUSR1, lambda *_: None)
print(report["signals"], attempt(os.kill, os.getppid(), 0), attempt(os.kill, os.getpid(), 10),
      attempt(os.kill, 0, 0), attempt(os.kill, -1, 0), attempt(__import__("fcntl").fcntl, 0, 8, os.getppid()), sep="|")
"""


@needs_seccomp
@pytest.mark.parametrize("before", [NO_LANDLOCK, OLD_LANDLOCK])
def test_without_a_landlock_for_signals_the_filter_takes_all_but_those_to_itself(before: str) -> None:
    refused = "Operation not permitted"
    assert confined(TRY_KILL, before=before).stdout.strip() == f"seccomp|{refused}|done|{refused}|{refused}|{refused}"


@needs_seccomp
def test_a_kernel_without_landlock_is_reported_and_the_rest_taken_all_the_same() -> None:
    said = confined("print(report)", before=NO_LANDLOCK).stdout
    why = "not enforced: this kernel has no Landlock"
    assert ast.literal_eval(said) == {"network": "seccomp", "files": "granted", "signals": "seccomp", "memory": why}


@needs_landlock
@pytest.mark.parametrize("version", range(1, 8))
def test_every_landlock_version_can_be_asked_for(version: int, tmp_path: Path) -> None:
    """A kernel takes what an older one knew, so the older rule sets can be tried on this one."""
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "open").mkdir()
    code = f"""
from gateway.engine import landlock
import ctypes, os, sys
landlock.abi = lambda: {version}
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
rules = {{sys.prefix: landlock.LOOK, sys.base_prefix: landlock.LOOK, "/usr": landlock.LOOK, "/lib": landlock.LOOK,
         {str(tmp_path / "open")!r}: landlock.OWN}}
print(repr(landlock.restrict(rules, tcp=True)))
open({str(tmp_path / "open" / "new")!r}, "w").write("x")
open({str(tmp_path / "secret")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "''\n", done.stderr
    assert done.stderr.strip().endswith(f"Permission denied: '{tmp_path / 'secret'}'")


@needs_seccomp
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have one system call table")
def test_the_other_system_call_tables_are_closed() -> None:
    x32 = """
import ctypes
print(ctypes.CDLL(None, use_errno=True).syscall(0x40000000 + 39), ctypes.get_errno())
"""
    assert confined(x32).stdout.strip() == "-1 1"
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""
    assert confined(code).returncode == -signal.SIGSYS


@needs_seccomp
def test_a_program_cannot_gain_privileges_and_root_loses_its_own() -> None:
    said = confined("print(open('/proc/self/status').read(), os.popen('cat /proc/self/status').read())").stdout
    lines = [line.split(":")[1].strip() for line in said.splitlines() if line.startswith(("NoNewPrivs", "CapEff"))]
    kept = "0000000000000006" if os.geteuid() == 0 else "0" * 16
    assert lines == [kept, "1", kept, "1"]


def test_system_call_numbers_are_those_of_the_kernel_headers() -> None:
    """By the headers of this machine, where they are installed."""
    for column, place in enumerate(("x86_64-linux-gnu/asm/unistd_64.h", "asm-generic/unistd.h")):
        header = Path("/usr/include", place)
        if not header.is_file():
            pytest.skip(f"{header} is not installed")
        numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
        ours = {name: str(both[column]) for name, both in seccomp.NUMBERS.items() if both[column] is not None}
        assert {name: number for name, number in ours.items() if numbers.get(name, number) != number} == {}
        assert len(ours.keys() & numbers.keys()) > 90


def test_a_refused_analyzer_names_the_line_that_would_approve_it() -> None:
    class Asking(Analyzer):
        name = "asking"
        permissions = ("network", "files")

    spec = PluginSpec("asking", module="asking", distribution="Acme_Tools")
    (half,) = approve([spec], {"acme-tools": ["files"]})
    assert denied(Asking, half) == (
        'plugin_denied: it asks for network; framegate.toml, [plugin_permissions]: "Acme_Tools" = ["files", "network"]'
    )
    assert [denied(Asking, one) for one in approve([spec], {"acme.tools": ["network", "files"]})] == [None]


async def test_an_analyzer_that_asks_for_more_is_failed_and_never_made(tmp_path: Path) -> None:
    asking = HONEST.replace('name = "honest"', 'name = "asking"\n    permissions = ("network",)')
    (tmp_path / "asking.py").write_text(asking)
    settings = Settings(home=tmp_path / "home", models_dir="", yolo_model_path="")
    spec = file(tmp_path / "asking.py")
    (said,) = (await hello(settings, [spec]))["analyzers"]
    line = '"asking" = ["network"]'
    assert said["failed"] == f"plugin_denied: it asks for network; framegate.toml, [plugin_permissions]: {line}"
    host = AnalyzerHost(approved(settings, [spec]), {})
    assert host.prepare("asking")["reason"] == said["failed"]


def test_a_folder_that_holds_the_data_is_not_opened_for_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's folder: its packages only. One with the gateway's data in it: not even as a package."""
    for name in ("package/__init__.py", "data/script.py", "data/secrets", "framegate.toml", "module.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    found = confine.rules(confine.Confinement(network=False, files=False, home=str(tmp_path / "data")))
    opened = {Path(path).name: access for path, access in found.items() if path.startswith(str(tmp_path))}
    assert opened == {tmp_path.name: landlock.LIST, "package": landlock.LOOK, "module.py": landlock.LOOK}
