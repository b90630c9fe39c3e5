"""The real server, as a child process on a free loopback port with a data folder of its own; and what to ask it."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

T = TypeVar("T")

BUILT_IN = ("anomaly", "bags", "faces", "motion", "objects", "smoking", "tracks", "zones")
SERVE = (sys.executable, "-m", "gateway", "serve", "--port", "0")
PATIENCE_S = 20.0  # two cores, and other tests on them


@dataclass(slots=True)
class Server:
    """A gateway that is ready. `url` has no slash at its end."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    http: httpx2.Client

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.partition("://")[2].partition(":")
        return host, int(port)

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def open(self, **wish: Any) -> str:
        """A new stream's id. Without a wish for analyzers there are none, and its frames cost nothing."""
        answer = self.http.post("/stream/request", json={"analyzers": [], **wish})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["stream_id"])

    def show(self, stream_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/stream/{stream_id}")
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        return status

    def post_frame(self, stream_id: str, picture: bytes, **request: Any) -> httpx2.Response:
        """Again while the stream says that it came too soon."""
        while True:
            answer = self.http.post(f"/stream/{stream_id}/frame", content=picture, **request)
            if answer.status_code != 202 or answer.json().get("reason") != "max_fps":
                return answer

    def push(self, stream_id: str, picture: bytes, **query: Any) -> dict[str, Any]:
        """At the pace the stream takes."""
        answer = self.post_frame(stream_id, picture, params=query)
        assert answer.status_code == 200, answer.text
        taken: dict[str, Any] = answer.json()
        return taken

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; 0 if it is not there."""
        for family in text_string_to_metric_families(self.http.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it by SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@contextmanager
def running(home: Path, *, command: Sequence[str] = SERVE, url: str = "", **environment: str) -> Iterator[Server]:
    """A server under these environment variables and no other settings. In the end it must leave with exit code 0."""
    home.mkdir(parents=True, exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home,  # neither framegate.toml nor .env is there
            env={**inherited, "FRAMEGATE_HOME": str(home / "data"), **environment},
            stdout=log,
            stderr=log,
        )
    try:
        at = url or eventually(lambda: _address(home / "log", process))
        with httpx2.Client(base_url=at, timeout=PATIENCE_S, trust_env=False, verify=_trust(home)) as http:
            eventually(lambda: _is_ready(http))
            yield Server(process, at, home, http)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, (home / "log").read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _trust(home: Path) -> ssl.SSLContext | bool:
    """The certificate that it made for itself, and nobody else's; where there is none, it speaks HTTP."""
    certificate = home / "data" / "tls" / "cert.pem"
    return ssl.create_default_context(cafile=str(certificate)) if certificate.exists() else False


def _address(log: Path, process: subprocess.Popen[bytes]) -> str | None:
    text = log.read_text()
    assert process.poll() is None, text
    found = re.search(r"Framegate is at (https?://\S+)", text)
    return found.group(1) if found else None


def _is_ready(http: httpx2.Client) -> bool:
    try:
        return http.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False


def eventually(condition: Callable[[], T | Literal[False] | None], within_s: float = PATIENCE_S) -> T:
    """Ask until the answer is true, and return it. Raises `AssertionError` when that takes too long."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {within_s:g} s: {answer!r}")
        time.sleep(0.02)
    return answer
