"""`framegate faces`: what is printed, what exit code it makes, and what is in the library then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway import FaceEmbedding
from gateway.commands.faces import add_face, identify, library_of, list_faces, merge_faces, remove_face, renew
from gateway.settings import Settings
from tests.analyzers import tiny_faces
from tests.analyzers.tiny_faces import scene


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    faces = {
        "detector": str(tiny_faces.detector(tmp_path / "d.onnx")),
        "model": str(tiny_faces.embedder(tmp_path / "e.onnx")),
    }
    return Settings(home=tmp_path / "home", analyzers={"faces": faces})


def picture(path: Path, **faces: tuple[int, int]) -> Path:
    cv2.imwrite(str(path), scene(**faces))
    return path


def test_every_picture_gets_its_verdict_and_somebody_is_known_then(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = picture(tmp_path / "good.png", rgbw=(0, 0))
    bad = [
        picture(tmp_path / "nobody.png"),
        picture(tmp_path / "two.png", rgbw=(0, 0), rrgg=(2, 0)),
        tmp_path / "absent.png",
    ]
    assert add_face(settings, "Anna", [good, *bad], person_id="anna", json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{good}: added, quality 1.00",
        f"{bad[0]}: rejected: no face (none was found)",
        f"{bad[1]}: rejected: several faces (2 of about one size)",
        f"{bad[2]}: rejected: no picture (No such file or directory)",
        "anna (Anna): 1 added, 1 in all",
    ]
    assert identify(settings, picture(tmp_path / "both.png", rgbw=(1, 0), bbww=(3, 1)), json=True) == 0
    faces = json.loads(capsys.readouterr().out)["faces"]
    assert [(face["person_id"], face["name"]) for face in faces] == [("anna", "Anna"), (None, None)]
    assert faces[0]["box"] == [0.25, 0.0, 0.5, 0.5]
    assert (faces[0]["score"] > 0.99, faces[1]["score"] < 0.1) == (True, True)


def test_if_no_picture_does_nobody_is_enrolled(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add_face(settings, "Anna", [picture(tmp_path / "nobody.png")], person_id=None, json=True) == 1
    rejected = [{"file": str(tmp_path / "nobody.png"), "reasons": ["no face"]}]
    assert json.loads(capsys.readouterr().out) == {"person_id": None, "added": 0, "rejected": rejected}
    assert not (tmp_path / "home" / "faces").exists()


def test_without_weights_it_says_what_to_fetch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(tmp_path / "good.png", rgbw=(0, 0))
    assert add_face(Settings(home=tmp_path, models_dir=str(tmp_path)), "Anna", [image], person_id=None, json=False) == 2
    assert "framegate models pull yunet" in capsys.readouterr().err


def test_faces_of_another_model_are_embedded_anew_where_they_were_kept(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_face(settings, "Anna", [picture(tmp_path / "good.png", rgbw=(0, 0))], person_id="anna", json=False)
    library = library_of(settings)
    (face,) = library.get("anna").faces
    other = np.roll(face.vector, 1)
    library.renew({face.face_id: replace(face, vector=other, model="another")})
    library.add("Anna", [FaceEmbedding(other, "another")], person_id="anna")  # its picture was not kept
    capsys.readouterr()
    assert renew(settings) == 1
    said = capsys.readouterr()
    assert said.out.startswith("1 faces embedded anew with ")
    assert said.err == "1 faces have no picture to embed anew: enrol these persons again\n"
    (renewed, lost) = library.get("anna").faces
    assert (renewed.model, lost.model) == (face.model, "another")
    assert float(renewed.vector @ face.vector) > 0.9999


def enrolled(settings: Settings, *people: tuple[str, str]) -> None:
    for number, (person_id, name) in enumerate(people):
        vector = np.eye(8, dtype=np.float32)[number]
        library_of(settings).add(name, [FaceEmbedding(vector, "m")], person_id=person_id)


def test_the_list_says_who_and_not_what(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_faces(settings, json=False) == 0
    assert capsys.readouterr().out.splitlines()[0] == "nobody is enrolled"
    enrolled(settings, ("b", "Ben"), ("a", "Anna"), ("a", "Anna"))
    list_faces(settings, json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["items"] == [
        {"person_id": "a", "name": "Anna", "embeddings": 2},
        {"person_id": "b", "name": "Ben", "embeddings": 1},
    ]
    assert (document["version"], document["models"]) == (3, {"m": 3})


def test_persons_are_removed_and_merged_by_id_or_by_a_name_of_one(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled(settings, ("a", "Anna"), ("b", "Ben"), ("c", "Ben"), ("d", "Dora"))
    assert merge_faces(settings, "Anna", "d") == 0
    assert remove_face(settings, "b") == 0
    assert capsys.readouterr().out == "a (Anna): 2 faces\nb (Ben): removed with 1 faces\n"
    assert [person.person_id for person in library_of(settings).persons()] == ["a", "c"]
    assert remove_face(settings, "Ben") == 0
    with pytest.raises(SystemExit, match="there is no person Zoe"):
        remove_face(settings, "Zoe")


def test_a_name_of_several_is_not_guessed(settings: Settings) -> None:
    enrolled(settings, ("b", "Ben"), ("c", "Ben"))
    with pytest.raises(SystemExit, match="2 persons are called Ben"):
        remove_face(settings, "Ben")


def test_a_broken_library_is_a_line_and_an_exit_code(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = settings.home / "faces"
    folder.mkdir(parents=True)
    (folder / "library.json").write_text("{")
    assert list_faces(settings, json=False) == 2
    assert capsys.readouterr().err.startswith(f"faces: {folder}/library.json is not a face library")
