"""The analyzer faces with real weights on real pictures and a clip; skipped where these are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from analyzers.faces import FacesAnalyzer, FacesOptions
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.tracks import TracksAnalyzer, TracksOptions
from gateway import FaceEmbedding, FileLibrary, Frame, MemoryLibrary
from gateway.evaluation.roc import equal_error, leave_one_out, pairs
from tests.analyzers.stage import clip, frame_of, run


@pytest.fixture
def faces(models: Path, tmp_path: Path) -> FacesAnalyzer:
    if FacesAnalyzer.missing(FacesOptions()):
        pytest.skip("no face detector and embedder in FRAMEGATE_MODELS_DIR")
    return FacesAnalyzer(FacesOptions(library=str(tmp_path / "library")))


@pytest.fixture
def truth(media: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((media / "faces" / "truth.json").read_text())
    return found


def pictures(media: Path, person: str) -> list[Path]:
    return sorted((media / "faces" / person).glob("*.jpg"))


def test_group_pictures_are_counted_right(faces: FacesAnalyzer, media: Path, truth: dict[str, Any]) -> None:
    assert faces.face_engine["detector"] == "YuNet (face_detection_yunet_2023mar.onnx)"
    counted = {name: len(_study(faces, media / "faces" / "groups" / name)) for name in truth["groups"]}
    assert counted == {name: about["faces"] for name, about in truth["groups"].items()}


def test_a_non_commercial_detector_that_is_named_counts_the_same(
    models: Path, media: Path, truth: dict[str, Any], tmp_path: Path
) -> None:
    options = FacesOptions(library=str(tmp_path), detector="det_500m.onnx")
    if FacesAnalyzer.missing(options):
        pytest.skip("no SCRFD in FRAMEGATE_MODELS_DIR")
    scrfd = FacesAnalyzer(options)
    assert scrfd.face_engine["detector"] == "SCRFD (det_500m.onnx)"
    groups = ("016_8.jpg", "017_0.jpg", "obama_and_biden.jpg")
    counted = {name: len(_study(scrfd, media / "faces" / "groups" / name)) for name in groups}
    assert counted == {name: truth["groups"][name]["faces"] for name in groups}


@pytest.mark.parametrize(
    "variant", ["as it is", *(pytest.param(name, marks=pytest.mark.slow) for name in ("half", "mirrored", "dark"))]
)
def test_everybody_is_nearest_to_himself_and_no_stranger_is_taken_for_anybody(
    faces: FacesAnalyzer, media: Path, truth: dict[str, Any], variant: str
) -> None:
    labelled = []
    for person in truth["persons"]:
        for path in pictures(media, person):
            found = faces.study(_frame(path, variant))
            assert not {"blurred", "turned away"} & set(found[0].reasons), path
            labelled.append((person, found[0].vector))
    threshold = faces._engine.threshold
    found_out = leave_one_out(labelled, threshold)
    assert (found_out.rank1, found_out.named, found_out.mistaken, found_out.strangers_named) == (22, 22, 0, 0)
    assert equal_error(pairs(labelled)).false_accept == 0


def test_who_is_on_a_group_picture_is_named_and_nobody_else(
    faces: FacesAnalyzer, media: Path, truth: dict[str, Any]
) -> None:
    library = MemoryLibrary()
    for person in truth["persons"]:
        for path in pictures(media, person):
            (face, *_) = _study(faces, path)
            library.add(person, [FaceEmbedding(face.vector, faces.face_model)], person_id=person)
    for name, about in truth["groups"].items():
        found = _study(faces, media / "faces" / "groups" / name)
        matches = [library.match(face.vector, faces.face_model)[0] for face in found]
        named = {one.person_id for one in matches if one.clear and faces.confidence(one.similarity) >= 0.5}
        assert (name, named) == (name, set(about.get("persons", ())))


def _frame(path: Path, variant: str) -> Frame:
    if variant == "as it is":
        return frame_of(path.read_bytes())
    picture: Any = cv2.imread(str(path))
    if variant == "half":
        picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    if variant == "mirrored":
        picture = np.ascontiguousarray(picture[:, ::-1])
    if variant == "dark":
        picture = (picture * 0.4).astype(np.uint8)
    return frame_of(picture, quality=85)


def _study(faces: FacesAnalyzer, path: Path) -> Any:
    return faces.study(frame_of(path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["as it is", "half", "mirrored"])
def test_the_singer_is_named_from_one_picture_and_nobody_wrongly(
    faces: FacesAnalyzer, media: Path, truth: dict[str, Any], variant: str
) -> None:
    """All others are enrolled too; in the last shot nobody is frontal, and the singer must not stay in it."""
    library = FileLibrary(Path(faces.options.library))
    for person in truth["persons"]:
        for path in pictures(media, person):
            (face, *_) = _study(faces, path)
            library.add(person, [FaceEmbedding(face.vector, faces.face_model, face.quality)], person_id=person)
    chain = (ObjectsAnalyzer(ObjectsOptions()), TracksAnalyzer(TracksOptions()), faces)
    frames = list(_varied(media / "clips" / "faces_whitehouse.mp4", variant))
    begin = frames[0].at
    results, events = run(frames, *chain)
    named = [
        (frame.at - begin, {one.person for one in step["faces"].detections if one.person})
        for frame, step in zip(frames, results, strict=True)
    ]
    in_view = ["lin" in people for at, people in named if 3.5 <= at <= 7.1]
    assert (len(in_view) > 15, all(in_view)) == (True, True)
    assert {person for at, people in named if not 2.7 <= at <= 7.2 for person in people} <= {"lin", "alex", "obama"}
    assert not any("lin" in people for at, people in named if 0.9 <= at <= 2.7 or at >= 7.3)
    assert [event.person_id for event in events if event.phase == "new" and event.person_id] == ["lin"]


def _varied(path: Path, variant: str) -> Iterator[Frame]:
    for frame in clip(path, fps=5):
        picture: Any = frame.to_bgr()
        if variant == "half":
            picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        if variant == "mirrored":
            picture = np.ascontiguousarray(picture[:, ::-1])
        yield frame_of(picture, at=frame.at, seq=frame.seq, quality=85)
