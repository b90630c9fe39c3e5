"""Alignment, detectors, embedders, quality, ties, cuts: what the analyzer faces is made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from analyzers._cuts import Scene
from analyzers._face_align import SIDE, TEMPLATE, align, from_png, similarity, to_png
from analyzers._face_detect import FaceDetector
from analyzers._face_embed import FaceEmbedder, confidence, known
from analyzers._face_quality import judge
from analyzers._face_ties import tie
from gateway import Box, GatewayError
from tests.analyzers import tiny_faces
from tests.analyzers.stage import frame_of
from tests.analyzers.tiny_models import raw


def _moved(points: np.ndarray, turn: float, scale: float, x: float, y: float) -> np.ndarray:
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved: np.ndarray = scale * points @ rotation.T + [x, y]
    return moved


@pytest.mark.parametrize(("turn", "scale"), [(0.0, 1.0), (0.5, 2.5), (-1.2, 0.3), (3.0, 1.0)])
def test_a_turned_scaled_and_moved_face_is_brought_back(turn: float, scale: float) -> None:
    transform = similarity(_moved(TEMPLATE, turn, scale, 40.0, -7.0), TEMPLATE)
    assert np.allclose(_moved(TEMPLATE, turn, scale, 40.0, -7.0) @ transform[:, :2].T + transform[:, 2], TEMPLATE)
    assert math.hypot(*transform[:, 0]) == pytest.approx(1 / scale)


def test_a_face_is_never_mirrored_to_fit() -> None:
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0


def test_points_on_top_of_each_other_give_a_picture_all_the_same() -> None:
    assert align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 20.0)).shape == (SIDE, SIDE, 3)


def test_a_large_face_is_averaged_not_sampled() -> None:
    """Stripes finer than the aligned face can hold become grey."""
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    aligned = align(stripes, _moved(TEMPLATE, 0.0, 7.0, 10.0, 10.0))
    assert aligned[10:100, 10:100].std() < 30  # 100 and more if it were sampled


def test_an_aligned_face_is_kept_without_loss() -> None:
    crop = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    assert np.array_equal(from_png(to_png(crop)), crop)


@pytest.mark.parametrize("kept", [b"", b"no picture", cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()])
def test_what_is_no_aligned_face_is_refused(kept: bytes) -> None:
    with pytest.raises(GatewayError, match="112x112"):
        from_png(kept)


# --- detectors -------------------------------------------------------------------------------------------------------


def test_boxes_and_points_come_back_in_the_frame(tmp_path: Path) -> None:
    found = FaceDetector(tiny_faces.detector(tmp_path / "d.onnx")).detect(frame_of(tiny_faces.scene(rgbw=(2, 1))))
    assert [(tuple(one.box), round(one.score, 2)) for one in found] == [((0.5, 0.5, 0.75, 1.0), 1.0)]
    assert np.allclose(found[0].points, TEMPLATE / SIDE * 128 + [256, 128], atol=1e-3)


def test_frames_of_another_shape_are_fitted(tmp_path: Path) -> None:
    """A square picture lies in the left half of the input; its right half is grey, and no part of the frame."""
    scene = tiny_faces.scene(rgbw=(0, 0))[:, :256]
    found = FaceDetector(tiny_faces.detector(tmp_path / "d.onnx")).detect(frame_of(scene), 0.95)
    assert [tuple(one.box) for one in found] == [(0.0, 0.0, 0.5, 0.5)]


def test_a_score_from_which_faces_count_may_be_set(tmp_path: Path) -> None:
    detector = FaceDetector(tiny_faces.detector(tmp_path / "d.onnx"))
    grey = frame_of(tiny_faces.scene(kkkk=(0, 0)))
    assert (len(detector.detect(grey)), len(detector.detect(grey, 0.5))) == (0, 1)


def test_an_object_detector_is_no_face_detector(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no face detector known here"):
        FaceDetector(raw(tmp_path / "objects.onnx", [1, 3, 64, 128]))


# --- embedders -------------------------------------------------------------------------------------------------------


def test_vectors_have_unit_length_whatever_is_fed(tmp_path: Path) -> None:
    embedder = FaceEmbedder(tiny_faces.embedder(tmp_path / "e.onnx"))
    crops: list[Any] = [cv2.resize(tiny_faces.face(quarters), (SIDE, SIDE)) for quarters in ("rgbw", "bbww", "rrgg")]
    vectors = embedder.embed(crops)
    assert (list(vectors.shape), vectors.dtype.name, embedder.dimensions) == ([3, 48], "float32", 48)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[1], embedder.embed(crops[1:2])[0], atol=1e-6)


def test_the_model_is_the_hash_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = tiny_faces.embedder(tmp_path / "e.onnx")
    assert FaceEmbedder(path).model == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_that_give_no_direction_are_broken(tmp_path: Path) -> None:
    embedder = FaceEmbedder(tiny_faces.embedder(tmp_path / "e.onnx", dark=True))
    with pytest.raises(ValueError, match="weights are broken"):
        embedder.embed([np.zeros((SIDE, SIDE, 3), np.uint8)])


def test_a_detector_is_no_embedder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="embedder's input is"):
        FaceEmbedder(tiny_faces.detector(tmp_path / "d.onnx"))


def test_a_confidence_of_a_half_is_the_models_own_threshold() -> None:
    sface = known("face_recognition_sface_2021dec.onnx").threshold
    assert confidence(sface, sface) == 0.5
    assert known("MobileFaceNet.onnx") is known("mobilefacenet.onnx")
    assert [round(confidence(value, 0.45), 3) for value in (-1, 0.33, 0.45, 0.57, 1)] == [0, 0.119, 0.5, 0.881, 1]


# --- quality ---------------------------------------------------------------------------------------------------------

SHARP: Any = cv2.resize(tiny_faces.face("rgbw"), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def test_a_large_sharp_frontal_face_may_be_enrolled() -> None:
    quality = judge(SHARP, TEMPLATE, 120.0)
    assert (quality.score, quality.reasons(48)) == (1.0, {})


def test_every_fault_has_its_word() -> None:
    blurred: Any = cv2.GaussianBlur(SHARP, (0, 0), 8)
    profile = TEMPLATE.copy()
    profile[2, 0] += 25
    assert list(judge(SHARP, TEMPLATE, 30.0).reasons(48)) == ["too small"]
    assert list(judge(blurred, TEMPLATE, 120.0).reasons(48)) == ["blurred"]
    assert list(judge(SHARP, profile, 120.0).reasons(48)) == ["turned away"]


def test_sharpness_does_not_depend_on_the_light() -> None:
    dark = (SHARP * 0.4).astype(np.uint8)
    assert judge(dark, TEMPLATE, 120.0).sharpness == pytest.approx(judge(SHARP, TEMPLATE, 120.0).sharpness, rel=0.1)


def test_a_profile_is_worth_nothing_and_tilting_the_head_costs_nothing() -> None:
    narrow = TEMPLATE.copy()
    narrow[[0, 1, 3, 4], 0] = [50, 62, 51, 61]
    assert judge(SHARP, narrow, 120.0).score == 0
    assert judge(SHARP, _moved(TEMPLATE, 0.7, 1.0, 0.0, 0.0), 120.0).score == 1


# --- ties and cuts ---------------------------------------------------------------------------------------------------


def test_a_face_belongs_to_the_person_whose_head_is_there() -> None:
    persons = {3: Box(0.1, 0.2, 0.3, 0.9), 5: Box(0.25, 0.3, 0.5, 0.9)}
    faces = [Box(0.17, 0.22, 0.23, 0.32), Box(0.34, 0.32, 0.4, 0.42), Box(0.8, 0.1, 0.9, 0.3)]
    assert tie(faces, persons) == [3, 5, None]


def test_nobody_has_two_faces() -> None:
    persons = {3: Box(0.1, 0.2, 0.4, 0.9)}
    assert tie([Box(0.3, 0.4, 0.36, 0.5), Box(0.22, 0.21, 0.28, 0.31)], persons) == [None, 3]


def test_a_face_at_the_feet_is_not_that_persons() -> None:
    assert tie([Box(0.2, 0.75, 0.26, 0.85)], {1: Box(0.1, 0.1, 0.4, 0.9)}) == [None]


def test_another_scene_is_told_from_a_change_of_light() -> None:
    picture: Any = np.random.default_rng(3).integers(0, 255, (36, 64, 3), np.uint8)
    picture = cv2.resize(picture, (640, 360), interpolation=cv2.INTER_CUBIC)
    other, scene = np.ascontiguousarray(picture[::-1]), Scene()
    shown = (picture, picture, (picture * 0.5).astype(np.uint8), other, other, picture)
    assert [scene.changed(frame_of(one)) for one in shown] == [False, False, False, True, False, True]
