"""Confinement: what a worker process gives up for good before it imports a single plugin.

The gateway says in one environment variable what is granted (`Confinement`); the child takes the rest from itself
(`confine`) and reports what that came to. Where the system cannot do it, the worker runs all the same, and says so.
"""

from __future__ import annotations

import json
import os
import site
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path

from gateway.engine import landlock, seccomp

VARIABLE = "FRAMEGATE_CHILD_CONFINE"
MOST_FILES = 4096  # open at once

Report = dict[str, str]  # what was taken -> by what, or "granted", or "not enforced: why"

# Programs, libraries and what they read to work at all. Nothing in here is a secret of this machine.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/opt/cuda", "/opt/intel", "/opt/nvidia", "/opt/rocm", "/proc", "/sys", "/var/cache/fontconfig"),
)
_ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts"),
    *("gai.conf", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload"),
    *("ld-musl-x86_64.path", "ld-musl-aarch64.path", "locale.conf", "localtime", "magic", "mime.types"),
    *("nsswitch.conf", "nvidia", "OpenCL", "os-release", "passwd", "pki/tls", "pki/ca-trust", "protocols"),
    *("resolv.conf", "services", "ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "terminfo", "timezone", "vulkan"),
)
_DEVICES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
    *("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dri/renderD*", "/dev/kfd", "/dev/accel/*", "/dev/dxg"),
)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What is left to a worker: the granted permissions, and without `files` these paths only."""

    network: bool
    files: bool
    read: tuple[str, ...] = ()
    home: str = ""  # the gateway's data folder: no rule opens it as a whole
    scratch: str = ""  # the one folder it may write to

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Confinement:
        item = json.loads(text)
        return cls(**{**item, "read": tuple(item["read"])})


def confine_as_told() -> Report:
    """Confine this process as its environment says."""
    text = os.environ.get(VARIABLE)
    if not text:
        return dict.fromkeys(("network", "files", "signals", "memory"), "not enforced: switched off")
    return confine(Confinement.from_text(text))


def confine(terms: Confinement) -> Report:
    """Take from this process, its threads and all it starts what the terms do not grant. Call it from the only thread.

    `memory` in the report stands for other processes' memory, environment and open files.
    """
    if sys.platform != "linux":
        return dict.fromkeys(("network", "files", "signals", "memory"), f"not enforced: {sys.platform} is not Linux")
    if terms.scratch:
        _settle(terms.scratch)
    _limit()
    _drop_capabilities()
    version = landlock.abi()
    no_landlock = _no_new_privileges() or landlock.restrict(
        None if terms.files else rules(terms), tcp=not terms.network
    )
    by_landlock = not no_landlock and version >= landlock.SIGNALS_SINCE
    wanted = seccomp.Wanted(
        network=not terms.network,
        files=not terms.files,
        signals=not by_landlock,
        truncate=not terms.files and version < landlock.TRUNCATE_SINCE,
        pid=os.getpid(),
        gateway=os.getppid(),
    )
    no_seccomp = seccomp.install(wanted)
    return {
        "network": "granted" if terms.network else _by("seccomp", no_seccomp),
        "files": "granted" if terms.files else _by(f"landlock {version}", no_landlock),
        "signals": f"landlock {version}" if by_landlock else _by("seccomp", no_seccomp),
        "memory": _by(f"landlock {version}", no_landlock),
    }


def _by(what: str, why_not: str) -> str:
    return f"not enforced: {why_not}" if why_not else what


def rules(terms: Confinement) -> dict[str, int]:
    """Every path it may open, and how."""
    found = dict.fromkeys((*_SYSTEM, *(f"/etc/{name}" for name in _ETC)), landlock.LOOK)
    found |= dict.fromkeys((*_pythons(), *_libraries()), landlock.LOOK)
    for folder, access in _imports():
        found[folder] = found.get(folder, 0) | access
    found = {path: access for path, access in found.items() if access == landlock.LIST or not _holds(path, terms.home)}
    found |= dict.fromkeys(terms.read, landlock.LOOK)
    found |= {path: landlock.USE for pattern in _DEVICES for path in glob(pattern)}
    found |= {"/dev/dri": landlock.LIST, "/dev/nvidia-caps": landlock.LOOK | landlock.USE}
    return found | ({terms.scratch: landlock.OWN} if terms.scratch else {})


def _pythons() -> set[str]:
    return {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, str(Path(__file__).parents[1])}


def _libraries() -> Iterator[str]:
    """Where the operator says that native libraries are."""
    for name in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH"):
        yield from filter(os.path.isabs, os.environ.get(name, "").split(os.pathsep))


def _imports() -> Iterator[tuple[str, int]]:
    """What imports need. Of a project's folder its packages only: a settings file may lie beside them."""
    for entry in _import_folders():
        if Path(entry).name in ("site-packages", "dist-packages") or Path(entry).is_file():
            yield entry, landlock.LOOK
        elif os.path.isdir(entry):
            yield entry, landlock.LIST
            yield from ((path, landlock.LOOK) for path in _importable(entry))
    for finder in sys.meta_path:  # editable installs that map package names to folders
        mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", None)
        if isinstance(mapping, dict):
            yield from ((str(path), landlock.LOOK) for path in mapping.values())


def _import_folders() -> list[str]:
    """`python -m` puts the current folder first, whatever it is: it counts only if it is meant, or holds us."""
    folders = [os.path.abspath(entry) for entry in sys.path]
    here = folders[:1] if folders[:1] == [os.getcwd()] and not os.path.isdir("gateway/engine") else []
    return folders[len(here) :]


def _importable(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name.endswith((".dist-info", ".egg-info")) or glob("*.py", root_dir=entry.path):
                    yield entry.path
            elif entry.name.endswith((".py", ".so")):
                yield entry.path


def _holds(path: str, home: str) -> bool:
    """Whether this folder has the gateway's data in it."""
    return bool(home) and Path(os.path.realpath(home)).is_relative_to(os.path.realpath(path))


def _settle(scratch: str) -> None:
    """Its own folder, and the names under which libraries look for one."""
    Path(scratch).parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        Path(scratch).mkdir(mode=0o700)
    if site.ENABLE_USER_SITE and site.USER_BASE:  # found by HOME until now
        os.environ["PYTHONUSERBASE"] = site.USER_BASE
    os.environ |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), scratch)


def _limit() -> None:
    """No core file, which would hold frames; and as many open files as any analyzer needs."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if soft == resource.RLIM_INFINITY else min(soft, most), most))


def _drop_capabilities() -> None:
    """A gateway that runs as root: its workers keep only root's way past file modes, not the rest of its power."""
    import ctypes

    keep = (1 << 1 | 1 << 2) if os.geteuid() == 0 else 0  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", 0x20080522, 0)
    ctypes.CDLL(None).capset(header, struct.pack("6I", keep, keep, 0, 0, 0, 0))


def _no_new_privileges() -> str:
    """So that no setuid program gives back what was taken."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return "" if prctl(38, 1, 0, 0, 0) == 0 else "PR_SET_NO_NEW_PRIVS failed"
