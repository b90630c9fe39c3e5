"""The analyzer faces: counting, naming, strangers, ties to persons, and what it never does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from analyzers.faces import FacesAnalyzer, FacesOptions
from gateway import Box, Detection, FaceEmbedding, FileLibrary, Frame, Result, SessionInfo
from tests.analyzers import tiny_faces
from tests.analyzers.stage import frame_of, run
from tests.analyzers.tiny_faces import scene

ANNA, BEN, CLEO = "rgbw", "rrgg", "bbww"  # three faces that are not alike


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Any]:
    return {
        "detector": str(tiny_faces.detector(tmp_path / "d.onnx")),
        "model": str(tiny_faces.embedder(tmp_path / "e.onnx")),
        "library": str(tmp_path / "library"),
    }


def made(weights: dict[str, Any], **options: Any) -> FacesAnalyzer:
    return FacesAnalyzer(FacesOptions(**weights, **options))


def enrol(analyzer: FacesAnalyzer, weights: dict[str, Any], *people: str) -> FileLibrary:
    library = FileLibrary(Path(weights["library"]))
    for person in people:
        (face,) = analyzer.study(frame_of(scene(**{person: (1, 0)})))
        embedding = FaceEmbedding(face.vector, analyzer.face_model, face.quality, "test", face.crop)
        library.add(f"Name of {person}", [embedding], person_id=person)
    return library


def shown(
    pictures: Sequence[np.ndarray], *, fps: float = 5.0, persons: Sequence[Detection] = (), start: float = 0.0
) -> Iterator[Frame]:
    """Frames, each with these persons as `tracks` tells them."""
    for number, picture in enumerate(pictures):
        yield frame_of(picture, at=start + number / fps, seq=number, tracks=Result(tuple(persons)))


def people(results: Sequence[Any]) -> list[list[str | None]]:
    return [[one.person for one in step["faces"].detections] for step in results]


def test_with_nobody_enrolled_faces_are_only_counted(weights: dict[str, Any]) -> None:
    seen, events = run(shown([scene(rgbw=(0, 0), rrgg=(2, 1))] * 10), made(weights))
    assert [step["faces"].measures for step in seen] == [{"faces": 2, "ids": 0}] * 10
    assert {one.attributes["identity"] for step in seen for one in step["faces"].detections} == {"undecided"}
    assert not any("quality" in one.attributes for step in seen for one in step["faces"].detections)
    assert (events, Path(weights["library"]).exists()) == ([], False)


def test_whoever_is_enrolled_is_named_by_id(weights: dict[str, Any]) -> None:
    analyzer = made(weights)
    enrol(analyzer, weights, ANNA, BEN)
    seen, events = run(shown([scene(rgbw=(0, 0))] * 6), analyzer)
    assert people(seen)[2:] == [[ANNA]] * 4
    assert seen[-1]["faces"].measures == {"faces": 1, "ids": 1}
    assert [(event.phase, event.event_type, event.person_id) for event in events] == [
        ("new", "person_identified", ANNA),
        ("end", "person_identified", ANNA),
    ]
    assert events[0].box == Box(0, 0, 0.25, 0.5)
    assert 0.5 < events[0].score <= 1
    assert {"similarity", "looks", "best_box", "best_quality", "best_at"} <= events[0].data.keys()


def test_names_are_told_only_where_the_operator_says_so(
    weights: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for names in (False, True):
        analyzer = made(weights, names=names)
        enrol(analyzer, weights, ANNA)
        seen, events = run(shown([scene(rgbw=(0, 0))] * 6), analyzer)
        assert (f"Name of {ANNA}" in repr(seen)) is names
        assert f"Name of {ANNA}" not in repr(events) + caplog.text


def test_a_stranger_is_unknown_after_some_good_looks(weights: dict[str, Any]) -> None:
    analyzer = made(weights)
    enrol(analyzer, weights, ANNA)
    seen, events = run(shown([scene(bbww=(0, 0))] * 12), analyzer)
    states = [step["faces"].detections[0].attributes["identity"] for step in seen]
    assert states[:5] == ["undecided"] * 5
    assert states[-3:] == ["unknown"] * 3
    assert [(event.phase, event.event_type, event.person_id) for event in events] == [
        ("new", "unknown_person", None),
        ("end", "unknown_person", None),
    ]


def test_strangers_are_not_told_of_where_nobody_wants_to_know(weights: dict[str, Any]) -> None:
    analyzer = made(weights, unknown=False)
    enrol(analyzer, weights, ANNA)
    assert run(shown([scene(bbww=(0, 0))] * 12), analyzer)[1] == []


def test_many_frames_a_second_prove_no_more_than_few(weights: dict[str, Any]) -> None:
    analyzer = made(weights)
    enrol(analyzer, weights, ANNA)
    seen, _ = run(shown([scene(bbww=(0, 0))] * 20, fps=25), analyzer)
    told = [step["faces"].detections[0].attributes for step in seen]
    assert {one["identity"] for one in told} == {"undecided"}
    assert [number for number, one in enumerate(told) if "quality" in one] == [0, 1, 6, 11, 16]


def test_a_small_face_is_counted_and_not_compared(weights: dict[str, Any]) -> None:
    analyzer = made(weights, min_px=200)
    enrol(analyzer, weights, ANNA)
    seen, events = run(shown([scene(rgbw=(0, 0))] * 12), analyzer)
    assert (seen[-1]["faces"].measures, events) == ({"faces": 1, "ids": 0}, [])


def test_a_face_carries_the_number_of_its_person(weights: dict[str, Any]) -> None:
    person = Detection("person", 0.9, Box(0.0, 0.0, 0.25, 1.0), track_id=7)
    seen, events = run(shown([scene(bbww=(0, 0), rrgg=(3, 0))] * 12, persons=[person]), self_enrolled(weights))
    assert [[one.track_id for one in step["faces"].detections] for step in seen] == [[7, None]] * 12
    assert [event.data["track"] for event in events if event.phase == "new"] == ["person-7", "face-2"]


def self_enrolled(weights: dict[str, Any]) -> FacesAnalyzer:
    analyzer = made(weights)
    enrol(analyzer, weights, ANNA)
    return analyzer


def test_a_person_who_turns_away_is_known_again_at_the_first_good_look(weights: dict[str, Any]) -> None:
    person = Detection("person", 0.9, Box(0.0, 0.0, 0.25, 1.0), track_id=7)
    analyzer = self_enrolled(weights)
    there, away = scene(rgbw=(0, 0), kkkk=(3, 1)), scene(kkkk=(3, 1))
    there[:128, 256:], away[:128, 256:] = 80, 80  # the room, too dark to be faces
    pictures = [there] * 5 + [away] * 12 + [there] * 2
    seen, _ = run(shown(pictures, persons=[person]), analyzer)
    assert people(seen)[4:6] + people(seen)[-2:] == [[ANNA], [], [ANNA], [ANNA]]


def test_one_person_has_one_face_in_a_picture(weights: dict[str, Any]) -> None:
    pictures = [cv2.add(scene(rgbw=(0, 0)), np.roll(scene(rgbw=(0, 0)), 256, axis=1))] * 6
    seen, _ = run(shown(pictures), self_enrolled(weights))
    assert seen[-1]["faces"].measures == {"faces": 2, "ids": 1}


def test_after_a_cut_nobody_inherits_a_name(weights: dict[str, Any]) -> None:
    """Somebody else in the same place: at first nobody says who it is, and then that it is a stranger."""
    after = scene(bbww=(0, 0))
    after[:, 128:] = 255
    pictures = [scene(rgbw=(0, 0))] * 8 + [after] * 8
    seen, _ = run(shown(pictures), self_enrolled(weights))
    assert people(seen)[7] == [ANNA]
    assert {person for step in people(seen)[8:] for person in step} == {None}


def test_who_takes_over_a_track_takes_over_no_name(weights: dict[str, Any]) -> None:
    """The same scene, the same place, another face: the latest looks outvote the earlier ones."""
    pictures = [scene(rgbw=(0, 0), wwww=(3, 1))] * 10 + [scene(rrgg=(0, 0), wwww=(3, 1))] * 12
    analyzer = made(weights)
    enrol(analyzer, weights, ANNA, BEN)
    seen, _ = run(shown(pictures), analyzer)
    assert people(seen)[9][0] == ANNA
    assert people(seen)[-1][0] == BEN
    assert sum(step[0] == ANNA for step in people(seen)[10:]) <= 3


def test_who_is_removed_is_named_no_more(weights: dict[str, Any]) -> None:
    analyzer = made(weights)
    library = enrol(analyzer, weights, ANNA, BEN)
    memory = analyzer.open(SessionInfo("test", options=analyzer.options))
    assert [analyzer.analyze(frame, memory) for frame in shown([scene(rgbw=(0, 0))] * 6)][-1].detections[
        0
    ].person == ANNA
    library.remove(ANNA)
    (next_frame,) = shown([scene(rgbw=(0, 0))], start=1.04)  # too early for another look
    assert analyzer.analyze(next_frame, memory).detections[0].person is None


def test_who_is_enrolled_meanwhile_is_named_at_once(weights: dict[str, Any]) -> None:
    analyzer = self_enrolled(weights)
    memory = analyzer.open(SessionInfo("test", options=analyzer.options))
    frames = shown([scene(bbww=(0, 0))] * 10)
    assert [analyzer.analyze(frame, memory) for frame in frames][-1].detections[0].person is None
    enrol(analyzer, weights, CLEO)
    (next_frame,) = shown([scene(bbww=(0, 0))], start=1.84)
    assert analyzer.analyze(next_frame, memory).detections[0].person == CLEO


def test_faces_of_another_model_are_not_compared_and_the_log_says_so(
    weights: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = made(weights)
    (face,) = analyzer.study(frame_of(scene(rgbw=(1, 0))))
    FileLibrary(Path(weights["library"])).add("Anna", [FaceEmbedding(face.vector, "another model")])
    seen, events = run(shown([scene(rgbw=(0, 0))] * 8), analyzer)
    assert (people(seen)[-1], events) == ([None], [])
    assert [record.getMessage() for record in caplog.records] == [
        "face library: 1 faces are of other models; run `framegate faces renew`"
    ]


def test_a_library_that_breaks_meanwhile_stays_in_use_as_it_was(
    weights: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = self_enrolled(weights)
    memory = analyzer.open(SessionInfo("test", options=analyzer.options))
    frames = list(shown([scene(rgbw=(0, 0))] * 8))
    for frame in frames[:4]:
        analyzer.analyze(frame, memory)
    (Path(weights["library"]) / "library.json").write_text("{")
    assert [analyzer.analyze(frame, memory).detections[0].person for frame in frames[4:]] == [ANNA] * 4
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        f"face library: {weights['library']}/library.json is not a face library"
    ]


def test_two_sessions_know_nothing_of_each_other(weights: dict[str, Any]) -> None:
    analyzer = self_enrolled(weights)
    pictures = [[scene(rgbw=(0, 0))] * 8, [scene(bbww=(0, 0))] * 8]
    alone = [run(shown(one), analyzer)[0] for one in pictures]
    memories = [analyzer.open(SessionInfo(name, options=analyzer.options)) for name in "ab"]
    together: list[list[Result]] = [[], []]
    for pair in zip(*(shown(one) for one in pictures), strict=True):
        for index, frame in enumerate(pair):
            together[index].append(analyzer.analyze(frame, memories[index]))
    assert together == [[step["faces"] for step in one] for one in alone]


def test_study_tells_the_largest_face_first_with_its_reasons(weights: dict[str, Any]) -> None:
    analyzer = made(weights, enrol_px=200)
    faces = analyzer.study(frame_of(scene(rgbw=(0, 0), rrgg=(2, 1))))
    assert [list(face.reasons) for face in faces] == [["too small"], ["too small"]]
    (again,) = analyzer.embed_crops([faces[0].crop])
    assert float(again @ faces[0].vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"threshold": 1.5}, "threshold must be 0-1"),
        ({"engine": "dlib"}, "engine must be one of onnx, insightface"),
        ({"side": 100}, "side must be 128-4096"),
        ({"min_px": 0}, "min_px must be 8-4096"),
        ({"every_s": -1}, "every_s must be 0-3600"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FacesOptions(**options)


def test_missing_weights_are_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("FRAMEGATE_HOME", str(tmp_path))
    said = FacesAnalyzer.missing(FacesOptions()) or ""
    assert "framegate models pull yunet" in said
    assert "framegate models pull mobilefacenet" in said
    said = FacesAnalyzer.missing(FacesOptions(engine="insightface")) or ""
    assert "NON-COMMERCIAL RESEARCH ONLY" in said
