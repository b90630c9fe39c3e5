"""VLC, unmodified, as a reader; without it tests are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import pixels
from tests.server import eventually


@contextmanager
def vlc(url: str, *, every: int = 5) -> Iterator[Path]:
    """It plays, and puts each so many-th picture into this folder as it decodes it."""
    if not (program := shutil.which("cvlc")):
        pytest.skip("needs VLC: apt install vlc-bin vlc-plugin-base")
    with tempfile.TemporaryDirectory(prefix="vlc-", dir="/tmp") as folder:
        os.chmod(folder, 0o777)  # VLC refuses to run as root, so it runs as somebody who owns nothing
        scene = ["--video-filter=scene", "--scene-format=png", f"--scene-path={folder}", f"--scene-ratio={every}"]
        somebody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        with subprocess.Popen(
            [program, "-I", "dummy", "--no-audio", "--vout", "dummy", "--play-and-exit", *scene, url],
            env={**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **somebody,  # type: ignore[call-overload]
        ) as player:
            try:
                yield Path(folder)
            finally:
                player.kill()


def first_picture(folder: Path) -> np.ndarray:
    """Of those in the folder that are written to their end."""
    taken = eventually(lambda: sorted(folder.glob("*.png"))[:-1])
    return pixels(taken[0].read_bytes())
