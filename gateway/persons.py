"""Persons: whom the face library knows, by which faces, and how a face is compared with theirs.

The one thing to know: a vector means something only beside vectors of the same network. Every embedding carries the
network's hash, and those of another one are never compared; `FaceEmbedding.crop` is kept to embed them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from uuid import uuid4

from gateway.errors import NotFound, UnknownOption

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gateway.frame import Frame
    from gateway.results import Box

    Vectors = npt.NDArray[np.float32]  # (n, d) or (d,), of unit length

MOST_DIMENSIONS = 4096
LEAST_MARGIN = 0.05  # cosine; about half the spread of strangers' likeness
UNIT = 1e-2  # how far from 1 the length of a vector may be that somebody hands in

# Why a picture does not do for enrolment; the words are part of the HTTP interface.
REASONS = ("no face", "several faces", "too small", "blurred", "turned away")
NO_FACE, SEVERAL_FACES, TOO_SMALL, BLURRED, TURNED_AWAY = REASONS

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class FaceEmbedding:
    """One face of a person. Raises `ValueError` for a vector that is none.

    `vector` is float32 (d,) of unit length, read-only; `model` the SHA-256 of the network that made it; `quality` 0-1;
    `source` says where it came from (a file name, say); `crop` is the aligned face, PNG, empty if it was not kept.
    """

    vector: Vectors = field(repr=False)
    model: str
    quality: float = 1.0
    source: str = ""
    crop: bytes = field(default=b"", repr=False)
    face_id: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _unit(self.vector))
        if not _ID.fullmatch(self.face_id):
            raise ValueError(f"a face id is 1-64 of A-Z a-z 0-9 . _ -, got {self.face_id[:80]!r}")
        if not self.model:
            raise ValueError("an embedding carries the hash of the network that made it")
        if not 0 <= self.quality <= 1:
            raise ValueError(f"quality is 0-1, got {self.quality}")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled. Results, events and logs carry `person_id` alone; the name stays in the library."""

    person_id: str
    name: str
    faces: tuple[FaceEmbedding, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """Whose face it is most like: cosine -1 to 1, and how far the next person is behind. Nobody in an empty library."""

    person_id: str | None = None
    similarity: float = 0.0
    margin: float = 0.0
    face_id: str | None = None

    @property
    def clear(self) -> bool:
        """Whether one person is ahead of everybody else; two as alike are told apart by nobody."""
        return self.person_id is not None and self.margin >= LEAST_MARGIN


@dataclass(frozen=True, slots=True, eq=False)
class StudiedFace:
    """One face of a picture, largest first, and whether it does for enrolment.

    `reasons` says why not, by word (of `REASONS`) with the detail; `vector` and `crop` are as in `FaceEmbedding`.
    """

    box: Box
    score: float
    quality: float
    reasons: Mapping[str, str]
    vector: Vectors = field(repr=False)
    crop: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if strange := set(self.reasons) - set(REASONS):
            raise ValueError(f"there is no reason {min(strange)!r}; there are {', '.join(REASONS)}")


SAME_SIZE = 0.4  # of the largest face's width: a smaller one is a bystander's


def to_enrol(faces: Sequence[StudiedFace]) -> tuple[StudiedFace | None, dict[str, str]]:
    """The face of a picture that is to be enrolled; or None, and why it does not do, by word with the detail."""
    if not faces:
        return None, {NO_FACE: "none was found"}
    first, *others = faces
    if near := [one for one in others if one.box.width >= SAME_SIZE * first.box.width]:
        return None, {SEVERAL_FACES: f"{len(near) + 1} of about one size"}
    return (None, dict(first.reasons)) if first.reasons else (first, {})


@runtime_checkable
class FaceEngine(Protocol):
    """What an analyzer must offer besides to enrol faces with it; called by one thread at a time."""

    face_model: str  # SHA-256 of the network that makes the vectors
    face_engine: Mapping[str, str]  # what it is made of, for people: engine, detector, embedder, licence

    def study(self, frame: Frame) -> Sequence[StudiedFace]:
        """Every face of a picture. Raises `BadImage`."""
        ...

    def embed_crops(self, crops: Sequence[bytes]) -> Sequence[Vectors]:
        """Vectors of aligned faces that were kept. Raises `BadImage`."""
        ...

    def confidence(self, similarity: float) -> float:
        """A cosine as 0-1, 0.5 at the model's own threshold."""
        ...


class FaceLibrary(Protocol):
    """Persons and their faces. Used by one thread at a time; `version` is another one after every change."""

    @property
    def version(self) -> int: ...

    def persons(self) -> tuple[Person, ...]:
        """Everybody, by name."""
        ...

    def get(self, person_id: str) -> Person:
        """Raises `NotFound`."""
        ...

    def add(self, name: str, faces: Iterable[FaceEmbedding], *, person_id: str | None = None) -> Person:
        """Add faces to a person, or a new person. Raises `UnknownOption` for a name or id nobody may have."""
        ...

    def rename(self, person_id: str, name: str) -> Person: ...

    def remove(self, person_id: str) -> Person:
        """Forget a person and every face. Raises `NotFound`."""
        ...

    def remove_face(self, person_id: str, face_id: str) -> Person: ...

    def merge(self, person_id: str, other_id: str) -> Person:
        """They are one: the first has the other's faces from now on. Raises `NotFound`."""
        ...

    def renew(self, faces: Mapping[str, FaceEmbedding]) -> None:
        """Put embeddings of another model in the place of these, by face id."""
        ...

    def match(self, vectors: Vectors, model: str) -> list[Match]:
        """For each vector (n, d) of that model, whom it is most like, among the embeddings of the same model."""
        ...

    def models(self) -> dict[str, int]:
        """How many faces there are of each model's making."""
        ...


class MemoryLibrary:
    """A library that lives as long as this process."""

    def __init__(self, persons: Iterable[Person] = (), version: int = 0) -> None:
        self._persons = {person.person_id: person for person in persons}
        self._version = version
        self._indices: dict[str, _Index] = {}

    @property
    def version(self) -> int:
        self._look()
        return self._version

    def persons(self) -> tuple[Person, ...]:
        self._look()
        return tuple(sorted(self._persons.values(), key=lambda person: (person.name.casefold(), person.person_id)))

    def get(self, person_id: str) -> Person:
        self._look()
        if person_id not in self._persons:
            raise NotFound(f"there is no person {person_id[:64]}")
        return self._persons[person_id]

    def add(self, name: str, faces: Iterable[FaceEmbedding], *, person_id: str | None = None) -> Person:
        person_id = check_id(person_id) if person_id is not None else f"p-{uuid4().hex[:12]}"
        name = check_name(name)
        with self._changing():
            known = self._persons.get(person_id)
            person = Person(person_id, name, (*(known.faces if known else ()), *faces))
            return self._put(person)

    def rename(self, person_id: str, name: str) -> Person:
        name = check_name(name)
        with self._changing():
            return self._put(replace(self.get(person_id), name=name))

    def remove(self, person_id: str) -> Person:
        with self._changing():
            person = self.get(person_id)
            del self._persons[person_id]
            return person

    def remove_face(self, person_id: str, face_id: str) -> Person:
        with self._changing():
            person = self.get(person_id)
            kept = tuple(face for face in person.faces if face.face_id != face_id)
            if len(kept) == len(person.faces):
                raise NotFound(f"person {person_id} has no face {face_id[:64]}")
            return self._put(replace(person, faces=kept))

    def merge(self, person_id: str, other_id: str) -> Person:
        if person_id == other_id:
            raise UnknownOption(f"person {person_id} cannot be merged with itself")
        with self._changing():
            person, other = self.get(person_id), self.get(other_id)
            del self._persons[other_id]
            return self._put(replace(person, faces=(*person.faces, *other.faces)))

    def renew(self, faces: Mapping[str, FaceEmbedding]) -> None:
        with self._changing():
            for person in list(self._persons.values()):
                renewed = tuple(faces.get(face.face_id, face) for face in person.faces)
                self._put(replace(person, faces=renewed))

    def match(self, vectors: Vectors, model: str) -> list[Match]:
        self._look()
        if model not in self._indices:
            self._indices[model] = _Index.of(self._persons.values(), model)
        return self._indices[model].match(vectors)

    def models(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for person in self.persons():
            for face in person.faces:
                counts[face.model] = counts.get(face.model, 0) + 1
        return counts

    def _put(self, person: Person) -> Person:
        self._persons[person.person_id] = person
        return person

    def _look(self) -> None:
        """Called before every reading."""

    def _changing(self) -> AbstractContextManager[None]:
        """Around every change; what it raises undoes nothing here, since whoever raises has changed nothing yet."""
        return self._change()

    @contextmanager
    def _change(self) -> Iterator[None]:
        yield
        self._version += 1
        self._indices.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """All faces of one model as a matrix (n, d), person after person; `starts` are the first rows of each."""

    matrix: Vectors
    starts: tuple[int, ...]
    people: tuple[str, ...]
    faces: tuple[str, ...]

    @classmethod
    def of(cls, persons: Iterable[Person], model: str) -> _Index:
        import numpy as np

        rows: list[Vectors] = []
        faces: list[str] = []
        starts: dict[str, int] = {}
        for person in persons:
            for face in person.faces:
                if face.model == model:
                    starts.setdefault(person.person_id, len(rows))
                    rows.append(face.vector)
                    faces.append(face.face_id)
        matrix = np.stack(rows) if rows else np.empty((0, 0), np.float32)
        return cls(matrix, tuple(starts.values()), tuple(starts), tuple(faces))

    def match(self, vectors: Vectors) -> list[Match]:
        """A person is as like as the nearest of the faces is."""
        import numpy as np

        asked = np.atleast_2d(vectors)
        if not self.faces:
            return [Match() for _ in asked]
        likeness = asked @ self.matrix.T
        people = np.maximum.reduceat(likeness, self.starts, axis=1)
        return [self._match(row, faces) for row, faces in zip(people, likeness, strict=True)]

    def _match(self, people: Vectors, faces: Vectors) -> Match:
        """The best of the people; the only one there is is ahead of nobody, whose likeness is 0."""
        first = int(people.argmax())
        second = max(float(people[:first].max(initial=-1.0)), float(people[first + 1 :].max(initial=-1.0)))
        similarity = float(people[first])
        margin = similarity - second if len(self.people) > 1 else similarity
        return Match(self.people[first], similarity, margin, self.faces[int(faces.argmax())])


def check_id(person_id: str) -> str:
    if not _ID.fullmatch(person_id):
        raise UnknownOption(f"a person's id is 1-64 of A-Z a-z 0-9 . _ -, got {person_id[:80]!r}")
    return person_id


def check_name(name: str) -> str:
    text = name.strip()
    if not text or len(text) > 200 or not text.isprintable():
        raise UnknownOption(f"a person's name is 1-200 printable characters, got {name[:80]!r}")
    return text


def _unit(vector: Any) -> Vectors:
    """The vector as float32 of exactly unit length, read-only. Raises `ValueError` for what is none."""
    import numpy as np

    made: Vectors = np.array(vector, np.float32)
    length = float(np.linalg.norm(made)) if made.ndim == 1 and made.size else 0.0
    if not (0 < made.size <= MOST_DIMENSIONS and abs(length - 1) <= UNIT):  # NaN is not near 1 either
        raise ValueError(f"an embedding is a vector of unit length, got shape {made.shape}, length {length:.3g}")
    made /= np.float32(length)
    made.setflags(write=False)
    return made
