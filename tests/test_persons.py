"""The face library: vectors, matching, changes; in memory, and in a folder that processes share."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway import Box, FaceEmbedding, FileLibrary, Match, MemoryLibrary, StudiedFace
from gateway.errors import LibraryBroken, NotFound, UnknownOption
from gateway.person_files import crop_of
from gateway.persons import FaceLibrary, to_enrol

MODEL = "a" * 64


def unit(number: int, size: int = 128) -> np.ndarray:
    vector = np.random.default_rng(number).normal(size=size).astype(np.float32)
    made: np.ndarray = vector / np.linalg.norm(vector)
    return made


def between(first: int, second: int, share: float) -> np.ndarray:
    """A vector on the way from one to another."""
    vector = (1 - share) * unit(first) + share * unit(second)
    made: np.ndarray = vector / np.linalg.norm(vector)
    return made


def face(number: int, model: str = MODEL, crop: bytes = b"") -> FaceEmbedding:
    return FaceEmbedding(unit(number), model, 0.5, f"{number}.jpg", crop)


@pytest.fixture(params=["memory", "file"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> FaceLibrary:
    return MemoryLibrary() if request.param == "memory" else FileLibrary(tmp_path / "faces")


# --- embeddings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector", [np.zeros(8), np.ones(8), np.array([]), np.full(8, np.nan), np.eye(2), 1.0, np.array(["x"] * 4)]
)
def test_only_vectors_of_unit_length_are_embeddings(vector: object) -> None:
    with pytest.raises(ValueError, match=r"unit length|could not convert"):
        FaceEmbedding(vector, MODEL)  # type: ignore[arg-type]


def test_an_embedding_is_exactly_of_unit_length_and_cannot_be_changed() -> None:
    made = FaceEmbedding(unit(1) * np.float32(1.004), MODEL)
    assert float(np.linalg.norm(made.vector)) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        made.vector[0] = 1


def test_an_embedding_without_its_model_is_refused() -> None:
    with pytest.raises(ValueError, match="hash of the network"):
        FaceEmbedding(unit(1), "")


def test_nothing_of_a_face_is_in_its_repr() -> None:
    assert "vector" not in repr(face(1, crop=b"secret"))
    assert "secret" not in repr(face(1, crop=b"secret"))


# --- both libraries --------------------------------------------------------------------------------------------------


def test_the_nearest_face_decides_and_the_margin_is_to_the_next_person(library: FaceLibrary) -> None:
    library.add("Anna", [face(1), face(2)], person_id="anna")
    library.add("Ben", [face(3)], person_id="ben")
    asked = np.stack([between(2, 3, 0.3), unit(3)])
    first, second = library.match(asked, MODEL)
    likeness = asked @ np.stack([unit(1), unit(2), unit(3)]).T
    assert (first.person_id, second.person_id) == ("anna", "ben")
    assert first.similarity == pytest.approx(likeness[0, 1], abs=1e-6)
    assert first.margin == pytest.approx(likeness[0, 1] - likeness[0, 2], abs=1e-6)
    assert (first.clear, second.clear) == (True, True)


def test_two_who_are_as_like_are_not_told_apart(library: FaceLibrary) -> None:
    library.add("Anna", [face(1)], person_id="anna")
    library.add("Her double", [face(1)], person_id="double")
    (match,) = library.match(unit(1), MODEL)
    assert (match.margin, match.clear) == (0.0, False)


def test_faces_of_another_model_are_never_compared(library: FaceLibrary) -> None:
    library.add("Anna", [face(1, "another")])
    assert library.match(unit(1), MODEL) == [Match()]
    assert library.match(unit(1, 512), MODEL) == [Match()]
    assert library.models() == {"another": 1}


def test_an_empty_library_knows_nobody(library: FaceLibrary) -> None:
    assert (library.persons(), library.match(unit(1), MODEL), library.version) == ((), [Match()], 0)
    assert not Match().clear


def test_every_change_has_a_version_of_its_own(library: FaceLibrary) -> None:
    seen = [library.version]
    changes: list[Callable[[], object]] = [
        lambda: library.add("Anna", [face(1)], person_id="anna"),
        lambda: library.add("Anna", [face(2)], person_id="anna"),
        lambda: library.add("Ben", [face(3)], person_id="ben"),
        lambda: library.rename("ben", "Benedikt"),
        lambda: library.renew({}),
        lambda: library.remove_face("anna", library.get("anna").faces[0].face_id),
        lambda: library.merge("anna", "ben"),
        lambda: library.remove("anna"),
    ]
    for change in changes:
        change()
        seen.append(library.version)
    assert len(set(seen)) == len(seen)
    assert library.persons() == ()


def test_merged_persons_are_one_with_the_faces_of_both(library: FaceLibrary) -> None:
    library.add("Anna", [face(1)], person_id="anna")
    library.add("A.", [face(2)], person_id="a")
    assert [one.source for one in library.merge("anna", "a").faces] == ["1.jpg", "2.jpg"]
    assert [person.person_id for person in library.persons()] == ["anna"]
    assert library.match(unit(2), MODEL)[0].person_id == "anna"


def test_a_new_person_gets_an_id_that_says_nothing(library: FaceLibrary) -> None:
    person = library.add("Anna Adler", [face(1)])
    assert "nna" not in person.person_id
    assert library.get(person.person_id).name == "Anna Adler"


def test_a_face_embedded_anew_keeps_its_place(library: FaceLibrary) -> None:
    (old,) = library.add("Anna", [face(1, "old")], person_id="anna").faces
    library.renew({old.face_id: FaceEmbedding(unit(5, 64), MODEL, 0.5, "1.jpg", b"", old.face_id)})
    assert library.match(unit(5, 64), MODEL)[0].face_id == old.face_id
    assert library.models() == {MODEL: 1}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_names_nobody_has_are_refused(library: FaceLibrary, name: str) -> None:
    with pytest.raises(UnknownOption, match="1-200 printable"):
        library.add(name, [face(1)])
    assert library.persons() == ()


@pytest.mark.parametrize("person_id", ["", "../x", "a/b", ".x", "x" * 65])
def test_ids_that_could_be_paths_are_refused(library: FaceLibrary, person_id: str) -> None:
    with pytest.raises(UnknownOption, match="id is 1-64"):
        library.add("Anna", [face(1)], person_id=person_id)


def test_who_is_not_there_cannot_be_changed(library: FaceLibrary) -> None:
    library.add("Anna", [face(1)], person_id="anna")
    acts: list[Callable[[], object]] = [
        lambda: library.get("x"),
        lambda: library.remove("x"),
        lambda: library.rename("x", "y"),
        lambda: library.merge("anna", "x"),
        lambda: library.remove_face("anna", "x"),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()
    with pytest.raises(UnknownOption, match="with itself"):
        library.merge("anna", "anna")
    assert (library.version, len(library.get("anna").faces)) == (1, 1)


# --- in a folder -----------------------------------------------------------------------------------------------------


def test_a_library_in_a_folder_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    first = FileLibrary(tmp_path / "faces")
    first.add("Änne", [face(1, crop=b"png"), face(2)], person_id="anna")
    again = FileLibrary(tmp_path / "faces")
    assert again.persons()[0].name == "Änne"
    assert [(one.model, one.quality, one.source) for one in again.get("anna").faces] == [
        (MODEL, 0.5, "1.jpg"),
        (MODEL, 0.5, "2.jpg"),
    ]
    assert np.array_equal(again.get("anna").faces[0].vector, first.get("anna").faces[0].vector)
    assert [crop_of(again.folder, one) for one in again.get("anna").faces] == [b"png", b""]


def test_nothing_is_written_before_the_first_face(tmp_path: Path) -> None:
    FileLibrary(tmp_path / "faces").match(unit(1), MODEL)
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    FileLibrary(folder).add("Anna", [face(1, crop=b"png")])
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert (modes, stat.S_IMODE(folder.stat().st_mode)) == ({0o600}, 0o700)


def test_who_is_removed_leaves_nothing_behind(tmp_path: Path) -> None:
    library = FileLibrary(tmp_path / "faces")
    library.add("Anna", [face(1, crop=b"png of Anna")], person_id="anna")
    library.add("Ben", [face(2, crop=b"png of Ben")], person_id="ben")
    library.remove("anna")
    left = b"".join(path.read_bytes() for path in library.folder.rglob("*") if path.is_file())
    assert (b"Anna" in left, b"png of Ben" in left) == (False, True)


def test_a_reader_sees_what_another_process_wrote(tmp_path: Path) -> None:
    reader = FileLibrary(tmp_path / "faces")
    assert reader.match(unit(1), MODEL) == [Match()]
    writer = FileLibrary(tmp_path / "faces")
    writer.add("Anna", [face(1)], person_id="anna")
    assert (reader.match(unit(1), MODEL)[0].person_id, reader.version) == ("anna", 1)
    writer.remove("anna")
    assert reader.match(unit(1), MODEL) == [Match()]


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = FileLibrary(tmp_path / "faces")
    library.add("Anna", [face(1)])
    monkeypatch.setattr("gateway.person_files._read", lambda path: pytest.fail("read again"))
    assert library.match(unit(1), MODEL)[0].similarity == pytest.approx(1)


def _add_many(folder: Path, start: int) -> None:
    library = FileLibrary(folder)
    for number in range(start, start + 10):
        library.add(f"Person {number}", [face(number)], person_id=f"p{number}")


def test_writers_of_several_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_many, args=(tmp_path / "faces", start)) for start in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    library = FileLibrary(tmp_path / "faces")
    assert (len(library.persons()), library.version) == (30, 30)


def test_a_change_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = FileLibrary(tmp_path / "faces")
    library.add("Anna", [face(1)], person_id="anna")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        library.remove("anna")
    monkeypatch.undo()
    assert [person.person_id for person in library.persons()] == ["anna"]
    assert [person.person_id for person in FileLibrary(library.folder).persons()] == ["anna"]
    assert sorted(path.name for path in library.folder.iterdir()) == ["library.json", "lock"]


BROKEN = [
    "",
    "{",
    "[]",
    '{"format": "other", "layout": 1}',
    '{"format": "framegate-faces", "layout": 99, "version": 1, "persons": []}',
    '{"format": "framegate-faces", "layout": 1, "version": 1, "persons": [{"person_id": "../x", "name": "x"}]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_said_and_never_written_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "library.json").write_text(text)
    with pytest.raises(LibraryBroken, match=r"library.json is not a face library \(.*put a backup there"):
        FileLibrary(tmp_path)
    assert (tmp_path / "library.json").read_text() == text


def test_a_library_that_breaks_later_stays_in_use_for_reading_only(tmp_path: Path) -> None:
    library = FileLibrary(tmp_path)
    library.add("Anna", [face(1)], person_id="anna")
    (tmp_path / "library.json").write_text("{")
    assert library.match(unit(1), MODEL)[0].person_id == "anna"
    assert "is not a face library" in library.trouble
    with pytest.raises(LibraryBroken):
        library.add("Ben", [face(2)])
    assert (tmp_path / "library.json").read_text() == "{"


def test_a_library_that_is_mended_is_read_again(tmp_path: Path) -> None:
    library = FileLibrary(tmp_path)
    library.add("Anna", [face(1)], person_id="anna")
    good = (tmp_path / "library.json").read_bytes()
    (tmp_path / "library.json").write_text("{")
    assert library.trouble == ""
    assert [person.person_id for person in library.persons()] == ["anna"]
    assert "is not a face library" in library.trouble
    (tmp_path / "library.json").write_bytes(good)
    assert ([person.person_id for person in library.persons()], library.trouble) == (["anna"], "")


@pytest.mark.parametrize("part", ["vector", "face_id", "model"])
def test_every_part_of_a_face_is_checked(tmp_path: Path, part: str) -> None:
    FileLibrary(tmp_path).add("Anna", [face(1)])
    found = json.loads((tmp_path / "library.json").read_text())
    found["persons"][0]["faces"][0][part] = ""
    (tmp_path / "library.json").write_text(json.dumps(found))
    with pytest.raises(LibraryBroken):
        FileLibrary(tmp_path)


# --- verdicts --------------------------------------------------------------------------------------------------------


def studied(width: float, **reasons: str) -> StudiedFace:
    box = Box(0.1, 0.1, 0.1 + width, 0.5)
    return StudiedFace(box, 0.9, 0.8, {key.replace("_", " "): text for key, text in reasons.items()}, unit(1), b"")


def test_a_picture_is_judged_by_its_largest_face() -> None:
    good, small, blurred = studied(0.4), studied(0.1), studied(0.4, blurred="sharpness 1")
    assert to_enrol([]) == (None, {"no face": "none was found"})
    assert to_enrol([good, small]) == (good, {})
    assert to_enrol([good, studied(0.3)]) == (None, {"several faces": "2 of about one size"})
    assert to_enrol([blurred]) == (None, {"blurred": "sharpness 1"})


def test_a_reason_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no reason 'ugly'"):
        studied(0.4, ugly="very")
