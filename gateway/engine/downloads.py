"""Downloads: known weights fetched because somebody asked over HTTP, each by a child process.

The child is `framegate models pull NAME`: it resumes, checks the hash and puts the file in place only when it is whole.
It is ended with the gateway, and what it had fetched by then is where the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from gateway.settings import Settings
from gateway.weights import MODELS, Weights

log = logging.getLogger(__name__)

PASSED_ON = ("FRAMEGATE_OFFLINE", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
MAX_WORDS = 500  # characters of a child's last line


@dataclass(slots=True)
class Download:
    """One file under way, or what came of it."""

    weights: Weights
    state: Literal["downloading", "done", "failed"] = "downloading"
    reason: str | None = None


class Downloads:
    """The downloads of this gateway, by the weights' names; one at a time for each. `done` is called after each."""

    def __init__(self, settings: Settings, done: Callable[[Weights], Awaitable[None]]) -> None:
        self._settings = settings
        self._done = done
        self._found: dict[str, Download] = {}
        self._fetches: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch until the end of the block; what is under way then is broken off."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                for fetch in self._fetches:
                    fetch.cancel()

    def describe(self, weights: Weights) -> dict[str, Any]:
        """How far one is; nothing if nobody asked."""
        download = self._found.get(weights.name)
        if download is None:
            return {}
        part = self._settings.home / MODELS / (weights.file + ".part")
        with suppress(OSError):
            return {"download": download.state, "reason": download.reason, "bytes_there": part.stat().st_size}
        return {"download": download.state, "reason": download.reason}

    def begin(self, weights: Weights) -> Download:
        """Begin a download, or answer with the one under way."""
        known = self._found.get(weights.name)
        if self._tasks is None or (known and known.state == "downloading"):
            return known or Download(weights, "failed", "the gateway is shutting down")
        download = self._found[weights.name] = Download(weights)
        task = self._tasks.create_task(self._fetch(download), name=f"download {weights.name}")
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)
        return download

    async def _fetch(self, download: Download) -> None:
        name = download.weights.name
        log.info("model %s: downloading", name)
        code, words = await self._pull(name)
        if code:
            download.state, download.reason = "failed", words or f"framegate models pull ended with {code}"
            log.warning("model %s: not downloaded: %s", name, download.reason)
            return
        download.state, download.reason = "done", None
        log.info("model %s: downloaded", name)
        await self._done(download.weights)

    async def _pull(self, name: str) -> tuple[int, str]:
        """The child's exit code and its last line of complaint."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "models", "pull", name),
            env=_environment(self._settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        lines = said.decode(errors="replace").strip().splitlines()
        return child.returncode or 0, lines[-1][:MAX_WORDS] if lines else ""


def _environment(settings: Settings) -> dict[str, str]:
    """What it needs to put the file where this gateway looks, by the way this gateway's host has to the network."""
    passed = {key: value for key, value in os.environ.items() if key.lower() in PROXIES or key in PASSED_ON}
    system = {
        key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV") if key in os.environ
    }
    return {
        **system,
        **passed,
        "FRAMEGATE_HOME": str(settings.home),
        "FRAMEGATE_MODELS_DIR": settings.models_dir,
        "FRAMEGATE_MODELS_MIRROR": settings.models_mirror,
    }
