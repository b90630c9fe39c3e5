"""What an analyzer saw: checked where it is made, the same on both sides of a wire."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.results import (
    SEVERITIES,
    Box,
    Detection,
    Result,
    Sighting,
    detection_to_wire,
    plain_json,
    result_from_json,
    result_to_json,
)

FULL = Box(0, 0, 1, 1)
UNIT = st.floats(0, 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LABEL = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    (x1, x2), (y1, y2) = (sorted(draw(st.tuples(UNIT, UNIT))) for _ in range(2))
    return Box(x1, y1, x2, y2)


DETECTIONS = st.builds(
    Detection,
    LABEL,
    UNIT,
    boxes(),
    track_id=st.none() | st.integers(0, 2**31),
    attributes=OBJECT,
    zones=st.lists(TEXT, max_size=2).map(tuple),
    person=st.none() | TEXT,
)
SIGHTINGS = st.builds(
    Sighting,
    LABEL,
    TEXT,
    UNIT,
    TEXT,
    st.none() | boxes(),
    st.sampled_from(SEVERITIES),
    st.floats(0, 1e6),
    st.none() | TEXT,
    st.none() | TEXT,
    st.lists(TEXT, max_size=2).map(tuple),
    OBJECT,
)
RESULTS = st.builds(
    Result,
    st.lists(DETECTIONS, max_size=3),
    st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    st.lists(SIGHTINGS, max_size=3),
    OBJECT,
    st.lists(DETECTIONS, max_size=2),
)


# --- boxes -----------------------------------------------------------------------------------------------------------


class Size:
    width, height = 200, 100


def test_a_box_from_pixels_is_relative_and_clipped_to_the_frame() -> None:
    assert Box.from_pixels(-10, 25, 50, 300, Size()) == Box(0, 0.25, 0.25, 1)


@given(boxes())
def test_a_box_goes_to_pixels_and_back_within_a_pixel(box: Box) -> None:
    again = Box.from_pixels(*box.to_pixels(200, 100), Size())
    assert tuple(again) == pytest.approx(tuple(box), abs=0.5 / 100 + 1e-9)


@pytest.mark.parametrize("corners", [(0.5, 0, 0.4, 1), (0, 0.5, 1, 0.4)])
def test_corners_come_top_left_first(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="top left, then bottom right"):
        Box(*corners)


@pytest.mark.parametrize("value", [-0.1, 1.1, 640, math.nan, math.inf])
def test_a_box_is_0_to_1_and_pixels_are_told_the_way(value: float) -> None:
    with pytest.raises(ValueError, match=r"box x1 must be 0-1 of the frame.*from_pixels"):
        Box(value, 0, 1, 1)


def test_a_hairs_breadth_outside_is_rounding() -> None:
    assert Box(-1e-7, 0, 1 + 1e-7, 1) == FULL


def test_a_box_outside_the_frame_is_clipped_to_nothing_and_not_refused() -> None:
    assert Box.clipped(1.2, 1.2, 1.5, 1.5).area == 0


def test_numpy_numbers_become_plain_ones() -> None:
    assert [type(value) for value in Box(*np.array([0, 0, 1, 1], np.float32))] == [float] * 4


@pytest.mark.parametrize(
    ("one", "other", "iou"),
    [
        (FULL, FULL, 1.0),
        (Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1), 0.0),
        (Box(0, 0, 0.5, 1), FULL, 0.5),
        (Box(0, 0, 0, 0), Box(0, 0, 0, 0), 0.0),
    ],
)
def test_iou(one: Box, other: Box, iou: float) -> None:
    assert one.iou(other) == other.iou(one) == iou


@given(boxes(), boxes())
def test_iou_is_symmetric_and_between_0_and_1(one: Box, other: Box) -> None:
    assert one.iou(other) == pytest.approx(other.iou(one))
    assert 0 <= one.iou(other) <= 1 + 1e-9


# --- detections, sightings, results ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "shown"), [("", "''"), ("x" * 65, "xxx"), ("a\nb", r"'a\\nb'"), ("\ud800", "ud800")])
def test_a_label_is_1_to_64_printable_characters(label: str, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        Detection(label, 0.5, FULL)


@pytest.mark.parametrize("score", [-0.1, 1.1, 80, math.nan])
def test_a_score_is_0_to_1(score: float) -> None:
    with pytest.raises(ValueError, match="a score is 0-1"):
        Detection("person", score, FULL)


def test_a_severity_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="severity must be one of info, warning, critical, got 'high'"):
        Sighting("fall", severity="high")  # type: ignore[arg-type]


@pytest.mark.parametrize("linger_s", [-1, math.nan])
def test_a_linger_is_not_negative(linger_s: float) -> None:
    with pytest.raises(ValueError, match="linger_s must be 0 or more seconds"):
        Sighting("fall", linger_s=linger_s)


def test_a_result_holds_detections_and_says_what_it_got_instead() -> None:
    with pytest.raises(TypeError, match=r"detections\[1\] must be a Detection, got dict"):
        Result((Detection("person", 1, FULL), {"label": "person"}))  # type: ignore[arg-type]


def test_faint_detections_travel_and_are_left_out_where_there_are_none() -> None:
    faint = Result(faint=(Detection("person", 0.1, FULL),))
    assert result_from_json(result_to_json(faint)) == faint
    assert "faint" not in result_to_json(Result((Detection("person", 0.9, FULL),)))
    with pytest.raises(TypeError, match=r"faint\[0\] must be a Detection, got str"):
        Result(faint=("person",))  # type: ignore[arg-type]


def test_a_detection_on_the_wire_has_all_its_keys() -> None:
    bare = Detection("person", 0.98765432, Box(1 / 3, 0, 2 / 3, 1))
    rich = Detection("person", 1, FULL, 7, {"hat": True}, ("hall",), "ann")
    assert detection_to_wire(bare) == {
        "label": "person",
        "score": 0.9877,
        "box": [0.33333, 0.0, 0.66667, 1.0],
        "track_id": None,
        "zones": [],
        "attributes": {},
        "person": None,
    }
    assert detection_to_wire(rich) == {
        "label": "person",
        "score": 1.0,
        "box": [0.0, 0.0, 1.0, 1.0],
        "track_id": 7,
        "zones": ["hall"],
        "attributes": {"hat": True},
        "person": "ann",
    }


@given(RESULTS)
def test_a_result_survives_the_wire(result: Result) -> None:
    """Exactly, once detections are rounded as they go out."""
    wire = result_to_json(result)
    again = result_from_json(json.loads(json.dumps(wire, allow_nan=False)))
    assert again.sightings == result.sightings
    assert (again.measures, again.data) == (result.measures, result.data)
    assert result_to_json(again) == wire


# --- plain JSON ------------------------------------------------------------------------------------------------------


@given(JSON)
def test_plain_json_is_left_as_it_is(value: Any) -> None:
    assert plain_json(value, "data") == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.zeros((2, 1), np.uint8), [[0], [0]]),
        ((1, 2), [1, 2]),
        ({"a": {"b": np.int8(1)}}, {"a": {"b": 1}}),
    ],
)
def test_numpy_and_tuples_become_plain(value: Any, plain: Any) -> None:
    made = plain_json(value, "data")
    assert (made, type(made)) == (plain, type(plain))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a": [1, math.nan]}, r"data\.a\[1\] must be finite, got nan"),
        ({"a": np.array([math.inf])}, r"data\.a\[0\] must be finite, got inf"),
        ({1: "a"}, "data must have text keys, got 1"),
        ({"a": b"bytes"}, r"data\.a must be plain JSON, got bytes"),
        ({"a": object()}, r"data\.a must be plain JSON, got object"),
        ({"a": "\ud800"}, r"data\.a must be text that has a UTF-8 form"),
        ({"\udfff": 1}, "data must be text that has a UTF-8 form"),
    ],
)
def test_what_json_has_no_word_for_is_refused_by_its_place(value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Result(data=value)


def test_the_analyzers_own_objects_are_not_shared() -> None:
    measures = {"count": 1}
    result = Result(measures=measures)
    measures["count"] = 2
    assert result.measures == {"count": 1}
