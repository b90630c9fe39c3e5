"""Benches as `.ci/run` calls them: a process each, whose last line is JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def run(bench: str, *arguments: str, timeout: float = 200) -> tuple[int, dict[str, Any]]:
    """A bench's exit code and its last line."""
    command = [sys.executable, "-m", f"bench.{bench}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.stdout, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, line
