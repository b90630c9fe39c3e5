"""What a hostile plugin would try, each as a plugin file. A trick either gets what it wants, or an `OSError`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HEAD = '''
import ctypes, os, resource, signal, socket, subprocess, tempfile, threading, time
from gateway import Analyzer, Result, hookimpl

HOME = {home!r}            # the gateway's data folder
SECRET = {secret!r}
USER = {user!r}            # the operator's own home
LIBRARY = {library!r}      # an importable module of somebody else
VICTIM = {victim!r}        # another process of the same user
PORT, SOCKET, ABSTRACT = {port!r}, {socket!r}, {abstract!r}
GATEWAY = os.getppid()
SCRATCH = tempfile.gettempdir()
_libc = ctypes.CDLL(None, use_errno=True)

def syscall(number, *arguments):
    answer = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer

def by_another(*command):
    """A program that does it instead."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(1, done.stderr.strip())

def trick():
'''
TAIL = """

try:
    outcome = "worked"
    trick()
except OSError as error:
    outcome = "refused: " + str(error)

class Hostile(Analyzer):
    name = "{name}"
    title = outcome
    def analyze(self, frame, memory):
        return Result()

@hookimpl
def register_analyzers():
    return [Hostile]
"""

TRICKS: Mapping[str, str] = {
    # secrets and files
    "parent_environment": "open(f'/proc/{GATEWAY}/environ').read()",
    "secrets_file": "open(SECRET).read()",
    "database": "import sqlite3\nopen(HOME + '/framegate.db', 'r+b')",
    "data_folder": "os.listdir(HOME)",
    "ssh_key": "open(USER + '/.ssh/id_ed25519').read()",
    "other_plugins_data": "open(HOME + '/plugin-data/other/state').read()",
    "plant_a_plugin": "open(HOME + '/plugins/planted.py', 'w').close()",
    "change_a_library": "open(LIBRARY, 'a').write('# mine now')",
    "symlink_out": "os.symlink(SECRET, SCRATCH + '/link')\nopen(SCRATCH + '/link').read()",
    "hard_link_in": "os.link(SECRET, SCRATCH + '/hard')\nopen(SCRATCH + '/hard').read()",
    "rename_in": "os.rename(HOME + '/loose', SCRATCH + '/loose')",
    "delete": "os.remove(HOME + '/spare')",
    "truncate": "os.truncate(HOME + '/long', 0)",
    "chmod": "os.chmod(SECRET, 0o666)",
    "chmod_by_descriptor": "os.chmod(os.open(LIBRARY, os.O_RDONLY), 0o666)",
    "touch": "os.utime(SECRET, (0, 0))",
    "watch_a_folder": "fd = _libc.inotify_init1(0)\nif _libc.inotify_add_watch(fd, HOME.encode(), 0xFFF) < 0:\n"
    "    raise OSError(ctypes.get_errno(), 'inotify')",
    "by_a_program": "by_another('cat', SECRET)",
    "by_a_thread": "said = []\ndef look():\n    try:\n        open(SECRET).read()\n    except OSError as error:\n"
    "        said.append(error)\nthread = threading.Thread(target=look)\nthread.start()\nthread.join()\n"
    "if said:\n    raise said[0]",
    "by_a_descriptor": "os.open(f'/proc/{VICTIM}/root' + SECRET, os.O_RDONLY)",
    # network
    "tcp": "socket.create_connection(('127.0.0.1', PORT), timeout=5)",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "listen": "socket.create_server(('127.0.0.1', 0))",
    "unix_socket": "socket.socket(socket.AF_UNIX).connect(SOCKET)",
    "abstract_socket": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(chr(0) + ABSTRACT)",
    "pair_of_datagram_sockets": "one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "one.sendto(b'x', chr(0) + ABSTRACT)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "network_by_a_program": "code = f'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))'\n"
    "by_another('python3', '-c', code)",
    "io_uring": "syscall(425, 4, ctypes.create_string_buffer(120))",
    # other processes
    "signal_the_gateway": "os.kill(GATEWAY, signal.SIGWINCH)",
    "stop_a_process": "os.kill(VICTIM, signal.SIGSTOP)",
    "signal_by_descriptor": "signal.pidfd_send_signal(os.pidfd_open(VICTIM), signal.SIGCONT)",
    "signal_by_a_descriptors_owner": "import fcntl\none, other = socket.socketpair()\n"
    "fcntl.fcntl(one, 10, signal.SIGSTOP)\nfcntl.fcntl(one, fcntl.F_SETOWN, VICTIM)\n"
    "fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)\nother.send(b'x')\nfor _ in range(30):\n"
    "    if open(f'/proc/{VICTIM}/stat').read().split()[2] == 'T':\n        return\n    time.sleep(0.01)\n"
    "raise OSError(1, 'it was not stopped')",
    "queue_a_signal": "syscall(129, VICTIM, 18, (ctypes.c_int * 32)(18, 0, -1))",
    "ptrace": "syscall(101, 0x4206, VICTIM, 0, 0)",
    "memory_of_another": "open(f'/proc/{GATEWAY}/mem', 'rb').close()",
    "memory_by_system_call": "vector = (ctypes.c_long * 2)(0, 0)\nsyscall(310, VICTIM, vector, 0, vector, 0, 0)",
    "files_of_another": "os.readlink(f'/proc/{GATEWAY}/fd/0')",
    "limits_of_another": "resource.prlimit(VICTIM, resource.RLIMIT_CORE, (0, 0))",
    "priority_of_another": "os.setpriority(os.PRIO_PROCESS, VICTIM, 19)",
    "scheduling_of_another": "os.sched_setscheduler(VICTIM, os.SCHED_BATCH, os.sched_param(0))",
    "kill_by_a_program": "by_another('kill', '-CONT', str(VICTIM))",
    "shared_memory": "segment = syscall(29, 0, 4096, 0o600)\nsyscall(31, segment, 0, 0)",
    # getting out
    "lift_the_file_rules": "syscall(444, None, 0, 1)\nopen(SECRET).read()",
    "new_user_namespace": "by_another('unshare', '--user', 'true')",
    "type_into_the_terminal": "import fcntl, pty\ntry:\n    fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError as error:\n"
    "    if error.errno != 25:\n        raise",
}  # fmt: skip


def write(folder: Path, values: Mapping[str, object]) -> list[Path]:
    """A plugin file for each trick."""
    paths = []
    for name, body in TRICKS.items():
        path = folder / f"{name}.py"
        indented = "\n".join("    " + line for line in body.splitlines())
        path.write_text(HEAD.format(**values) + indented + TAIL.format(name=name))
        paths.append(path)
    return paths
