"""RunningGateway: a real gateway in a child process on a free loopback port, to push pictures to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx2

from gateway.frame import Frame
from gateway.testing.session import frame_of

if TYPE_CHECKING:
    from gateway.frame import Pixels

READY_S = 60.0  # a cold start on a small machine
ANSWER_S = 90.0  # models may load first
_PASSED_ON = ("FRAMEGATE_MODELS_DIR", "FRAMEGATE_YOLO_MODEL_PATH")


class GatewayFailed(Exception):
    """The gateway did not start, or an analyzer in it failed; with the last of its log."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of some pictures: for each, the analyzers' answers by name; and the events, as they were told.

    Answers and events are the JSON objects of the gateway's own protocol (docs/protocol.md).
    """

    results: tuple[Mapping[str, Any], ...]
    events: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class RunningGateway:
    """A gateway that is ready. `url` has no slash at its end; `log` is what it has logged until now."""

    url: str
    _http: httpx2.Client
    _log: Path

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def push(
        self,
        pictures: Iterable[Pixels | bytes | Frame],
        *,
        analyzers: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        fps: float = 10.0,
    ) -> Pushed:
        """Send pictures, each when the one before has been looked at, on a stream of its own that ends then.

        Raises `GatewayFailed` if an analyzer cannot be loaded.
        """
        stream_id = self._open(analyzers, options or {})
        self._await_ready(stream_id)
        events: list[Mapping[str, Any]] = []
        heard = threading.Event()
        listener = threading.Thread(target=self._listen, args=(stream_id, events, heard), daemon=True)
        listener.start()
        heard.wait(ANSWER_S)
        began = datetime.now(UTC)
        results = []
        for number, picture in enumerate(pictures):
            due = number / fps
            time.sleep(
                max(0.0, due - (datetime.now(UTC) - began).total_seconds())
            )  # the gateway has a clock of its own
            results.append(self._push(stream_id, picture, began + timedelta(seconds=due)))
        self._ask("DELETE", f"/stream/{stream_id}")
        listener.join(ANSWER_S)
        return Pushed(tuple(results), tuple(events))

    def _open(self, analyzers: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> str:
        wish = {"analyzers": list(analyzers), "options": {name: dict(values) for name, values in options.items()}}
        return str(self._ask("POST", "/stream/request", json=wish)["stream_id"])

    def _await_ready(self, stream_id: str) -> None:
        """Until every analyzer of the stream has loaded."""
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            states = {one["name"]: one for one in self._ask("GET", f"/stream/{stream_id}")["analyzers"]}
            for name, one in states.items():
                if one["state"] in ("failed", "disabled"):
                    raise GatewayFailed(f"analyzer {name}: {one.get('reason') or one['state']}")
            if all(one["state"] == "ready" for one in states.values()):
                return
            time.sleep(0.05)
        raise GatewayFailed(f"the analyzers have not loaded within {ANSWER_S:g} s\n{self.log[-2000:]}")

    def _push(self, stream_id: str, picture: Pixels | bytes | Frame, taken: datetime) -> Mapping[str, Any]:
        jpeg = picture.jpeg if isinstance(picture, Frame) else frame_of(picture).jpeg
        answer = self._ask(
            "POST",
            f"/stream/{stream_id}/frame",
            content=jpeg,
            params={"wait": 1, "ts": str(taken.timestamp())},
            headers={"Content-Type": "image/jpeg"},
        )
        found: Mapping[str, Any] = answer["analyzers"]
        return found

    def _listen(self, stream_id: str, events: list[Mapping[str, Any]], heard: threading.Event) -> None:
        """Collect the stream's events until it ends."""
        with self._http.stream("GET", f"/stream/{stream_id}/events", params={"topics": "events"}) as answer:
            heard.set()
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    found = json.loads(line.removeprefix("data:"))
                    if found.get("type") == "event":
                        events.append(found)

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        answer = self._http.request(method, path, **how)
        if answer.status_code >= 400:
            raise GatewayFailed(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None


@contextmanager
def running(*plugins: Path | str, **settings: str) -> Iterator[RunningGateway]:
    """A gateway with these plugin files, under no other settings than these: `analysis__deadline_s="5"`.

    Installed plugins are there as always. Raises `GatewayFailed` if it does not come up.
    """
    with TemporaryDirectory(prefix="framegate-") as folder:
        home = Path(folder)
        process = _start(home, plugins, settings)
        try:
            url = _address(home / "log", process)
            with httpx2.Client(base_url=url, timeout=ANSWER_S, trust_env=False) as http:
                yield RunningGateway(url, http, home / "log")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(home: Path, plugins: Sequence[Path | str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    ours = {f"FRAMEGATE_{name.upper()}": str(value) for name, value in settings.items()}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    files = [word for plugin in plugins for word in ("--plugin", str(Path(plugin).resolve()))]
    with (home / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--port", "0", *files],
            cwd=home,  # neither framegate.toml nor .env is there
            env={**inherited, **passed, "FRAMEGATE_HOME": str(home / "data"), **ours},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it is, as soon as it says that it is ready."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"Framegate is at (http://\S+)", log.read_text(errors="replace")):
            with httpx2.Client(base_url=found.group(1), timeout=5.0, trust_env=False) as http:
                if _is_ready(http):
                    return found.group(1)
        time.sleep(0.05)
    raise GatewayFailed(f"the gateway did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _is_ready(http: httpx2.Client) -> bool:
    try:
        return http.get("/ready").status_code == 200
    except httpx2.TransportError:
        return False
