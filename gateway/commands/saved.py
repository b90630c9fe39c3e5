"""A file that an editor saves: what it holds once the editor is done, told once per change.

Editors write in bursts, by rename, and half of a file at a time; so a change counts when two looks in a row find the
file the same, and only if its text is another one.
"""

from __future__ import annotations

from pathlib import Path

Mark = tuple[int, int, int]


class SavedFile:
    """Look at it every now and then; no look waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.text = path.read_bytes()
        self._seen = self._settled = self._mark()

    def look(self) -> bytes | None:
        """The new text, if it has changed and is whole; None otherwise, also while there is no file."""
        mark, before = self._mark(), self._seen
        self._seen = mark
        if mark in (None, self._settled) or mark != before:
            return None
        try:
            text = self._path.read_bytes()
        except OSError:
            return None
        self._settled = mark
        if text == self.text:
            return None
        self.text = text
        return text

    def _mark(self) -> Mark | None:
        try:
            about = self._path.stat()
        except OSError:
            return None
        return about.st_mtime_ns, about.st_size, about.st_ino
