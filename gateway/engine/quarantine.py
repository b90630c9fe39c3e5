"""Quarantine: the frames that killed a worker, kept once for the author of the analyzer that was asked about them.

A folder per analyzer and version: the pictures as they came and `job.json` with what was asked. Of the stream nothing
is kept but the pictures: its name and id may open it to others. Nothing here may fail the engine: no disk, no set.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.engine.dispatcher import Casualty
from gateway.engine.slot import Slot
from gateway.frame import Frame, iso
from gateway.results import result_to_json

log = logging.getLogger(__name__)

MAX_SETS = 64
MAX_BYTES = 16 * 2**20  # of the pictures of one set
MAX_TEXT = 2**20  # of its job.json
WRITE_S = 5.0  # a disk that is slower holds the worker's restart up no longer

_SECRET = re.compile(r"token|secret|passw|key|auth|credential|cookie|session", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


class Quarantine:
    """Keeps sets of frames in `folder`, which is made when there is one to keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def keep(self, casualty: Casualty, reason: str) -> Path | None:
        """Keep a casualty's frames, unless those of another one of the same analyzer and version are there.

        The folder they are in, or None if they could not be kept. Writes on another thread and never raises.
        """
        place = self.folder / _folder_name(casualty)
        about = _about(casualty, reason)
        pictures = [frame.jpeg for _, frame in casualty.items]
        try:
            async with asyncio.timeout(WRITE_S):
                written = asyncio.get_running_loop().run_in_executor(None, self._keep, place, about, pictures)
                new = await written
        except TimeoutError:
            log.warning("analyzer %s: %s takes too long to write", _harmless(casualty.runner.name), place)
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            log.warning("analyzer %s: its frames are not kept: %s", _harmless(casualty.runner.name), error)
            return None
        if new:
            log.warning(
                "analyzer %s: the frames that killed its worker are in %s", _harmless(casualty.runner.name), place
            )
        return place

    def _keep(self, place: Path, about: dict[str, Any], pictures: list[bytes]) -> bool:
        """Write a set whole or not at all; False if there is one. Raises `OSError`, `ValueError`."""
        if os.path.lexists(place):
            return False
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(1 for _ in self.folder.iterdir()) >= MAX_SETS:
            raise ValueError(f"{self.folder} holds {MAX_SETS} sets; delete some")
        if sum(map(len, pictures)) > MAX_BYTES:
            raise ValueError(f"the pictures are larger than {MAX_BYTES} bytes")
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))  # mode 0700
        try:
            for item, picture in zip(about["frames"], pictures, strict=True):
                _write(new / item["file"], picture)
            _write(new / "job.json", _text(about))
            new.rename(place)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return True


def _folder_name(casualty: Casualty) -> str:
    """Names and versions come from foreign code: one harmless part of a path is made of them."""
    about = casualty.runner.manifest
    return f"{_harmless(about.name)}-{_harmless(about.version)}"


def _harmless(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text).strip(".")[:64] or "_"


def _about(casualty: Casualty, reason: str) -> dict[str, Any]:
    about = casualty.runner.manifest
    return {
        "analyzer": about.name,
        "version": about.version,
        "plugin": about.plugin,
        "distribution": about.distribution,
        "reason": reason,
        "at": iso(datetime.now(UTC)),
        "frames": [
            _frame(number, slot, frame, casualty.runner.name) for number, (slot, frame) in enumerate(casualty.items)
        ],
    }


def _frame(number: int, slot: Slot, frame: Frame, analyzer: str) -> dict[str, Any]:
    """One frame and what was asked about it. `number` is in its file's name where two streams had the same seq."""
    options: Mapping[str, Any] = next((stage.options for stage in slot.stages if stage.name == analyzer), {})
    return {
        "file": f"frame-{frame.seq}.jpg" if number == 0 else f"frame-{frame.seq}-{number}.jpg",
        "seq": frame.seq,
        "width": frame.width,
        "height": frame.height,
        "at": frame.at,
        "captured_at": iso(frame.captured_at),
        "options": _without_secrets(options),
        "results": {need: result_to_json(result) for need, result in frame.results.items()},
    }


def _without_secrets(value: Any, key: str = "") -> Any:
    if _SECRET.search(key):
        return "..."
    if isinstance(value, Mapping):
        return {name: _without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return _USERINFO.sub("...@", value) if isinstance(value, str) else value


def _text(about: dict[str, Any]) -> bytes:
    """`job.json`, without the others' results if they are too long. Raises `ValueError`."""
    text = json.dumps(about, indent=2).encode()
    if len(text) > MAX_TEXT:
        frames = [{**item, "results": None} for item in about["frames"]]
        text = json.dumps({**about, "frames": frames}, indent=2).encode()
    if len(text) > MAX_TEXT:
        raise ValueError(f"job.json would have {len(text)} bytes, more than {MAX_TEXT}")
    return text


def _write(path: Path, data: bytes) -> None:
    """A new file that only its owner reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
