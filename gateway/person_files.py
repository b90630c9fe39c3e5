"""FileLibrary: the face library in a folder, shared by processes: the commands write it, workers read it.

    library.json    persons, their faces, the vectors (float32, little endian, base64), and a number that counts changes
    crops/*.png     aligned faces, by face id, so that another network can embed them anew

A change is written beside the old file, synced and renamed, so a reader sees the one or the other, and after a crash
there is the one or the other. Nothing is a pickle. The folder is made with the first face, readable by its owner alone.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError, LibraryBroken
from gateway.persons import FaceEmbedding, MemoryLibrary, Person, check_id, check_name

FORMAT, LAYOUT = "framegate-faces", 1
FILE, CROPS, LOCK = "library.json", "crops", "lock"
MOST_BYTES = 512 * 2**20

Stamp = tuple[int, int, int]


class FileLibrary(MemoryLibrary):
    """A library in a folder. Reading notices what others wrote by one `stat`; writers wait for each other (flock).

    Raises `LibraryBroken` for a file that cannot be read. One that breaks later leaves what was read before in use
    for reading, and says so in `trouble`; nothing is written over it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.trouble = ""
        self._stamp: Stamp | None = None
        self._bad: Stamp | None = None  # a state of the file that could not be read, and is not tried again
        self._refresh()

    def _look(self) -> None:
        try:
            if self._bad is None or self._stamped() != self._bad:
                self._refresh()
                self.trouble, self._bad = "", None
        except LibraryBroken as error:
            self.trouble, self._bad = str(error), self._stamped()

    def _refresh(self) -> None:
        """Read the file anew if it is another one. Raises `LibraryBroken`."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        version, persons = _read(self.folder / FILE) if stamp else (0, [])
        self._persons = {person.person_id: person for person in persons}
        self._version, self._stamp = version, stamp
        self._indices.clear()

    def _stamped(self) -> Stamp | None:
        """What tells one state of the file from another; None: there is none."""
        try:
            state = os.stat(self.folder / FILE)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LibraryBroken(f"{self.folder / FILE}: {error.strerror}") from None
        return state.st_ino, state.st_mtime_ns, state.st_size

    # --- changes -----------------------------------------------------------------------------------------------------

    def _changing(self) -> AbstractContextManager[None]:
        return self._change_file()

    @contextmanager
    def _change_file(self) -> Iterator[None]:
        """One change: on what is there now, by one process at a time. Raises `OSError` if it cannot be written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.folder / LOCK):
            self._refresh()
            kept = False
            try:
                with self._change():
                    yield
                self._save()
                kept = True
            finally:
                if not kept:
                    self._stamp = (0, 0, 0)  # what is in memory is not what is on the disk

    def _save(self) -> None:
        """New crops first: a file that names them must find them. Old ones go last."""
        crops = self.folder / CROPS
        faces = [face for person in self._persons.values() for face in person.faces]
        there = set(os.listdir(crops)) if crops.is_dir() else set()
        for face in faces:
            if face.crop and _crop_name(face) not in there:
                crops.mkdir(mode=0o700, exist_ok=True)
                _write(crops / _crop_name(face), face.crop)
        text = json.dumps({"format": FORMAT, "layout": LAYOUT, "version": self._version, "persons": self._told()})
        _write(self.folder / FILE, text.encode())
        self._stamp = self._stamped()
        for name in there - {_crop_name(face) for face in faces}:
            with suppress(OSError):
                (crops / name).unlink()

    def _told(self) -> list[dict[str, Any]]:
        return [
            {"person_id": one.person_id, "name": one.name, "faces": [_face_to_json(face) for face in one.faces]}
            for one in self._persons.values()
        ]


def _face_to_json(face: FaceEmbedding) -> dict[str, Any]:
    return {
        "face_id": face.face_id,
        "model": face.model,
        "quality": round(face.quality, 4),
        "source": face.source,
        "vector": b64encode(face.vector.astype("<f4").tobytes()).decode(),
    }


def _read(path: Path) -> tuple[int, list[Person]]:
    """Version and persons. Raises `LibraryBroken`."""
    try:
        return _parsed(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, GatewayError) as error:
        what = f"{type(error).__name__}: {error}"[:200]
        raise LibraryBroken(
            f"{path} is not a face library ({what}); put a backup there, or move it away and enrol again"
        ) from None


def _parsed(path: Path) -> tuple[int, list[Person]]:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    found = json.loads(path.read_bytes())
    if found["format"] != FORMAT or found["layout"] != LAYOUT:
        raise ValueError(f"layout {found['layout']!r} of {found['format']!r}, not {LAYOUT} of {FORMAT!r}")
    return int(found["version"]), [_person(item) for item in found["persons"]]


def _person(item: dict[str, Any]) -> Person:
    faces = tuple(_face(face) for face in item["faces"])
    return Person(check_id(item["person_id"]), check_name(item["name"]), faces)


def _face(item: dict[str, Any]) -> FaceEmbedding:
    import numpy as np

    vector = np.frombuffer(b64decode(item["vector"], validate=True), "<f4")
    return FaceEmbedding(vector, item["model"], item["quality"], item["source"], b"", item["face_id"])


def crop_of(folder: Path, face: FaceEmbedding) -> bytes:
    """The aligned face that was kept with an embedding (PNG); empty if it was not. Read when it is asked for."""
    try:
        return face.crop or (folder / CROPS / _crop_name(face)).read_bytes()
    except OSError:
        return b""


def _crop_name(face: FaceEmbedding) -> str:
    return f"{face.face_id}.png"


def _write(path: Path, data: bytes) -> None:
    """The whole file or the old one, also after a power cut."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # not every file system opens folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, also of other processes; where there is no flock, writers must not meet."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "wb") as stream:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
