"""What detection libraries return becomes a Result once, at the plugin's edge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gateway import Box, Detection, Result
from gateway.convert import to_result

FRAME = SimpleNamespace(width=200, height=100)
PERSON = Detection("person", 0.5, Box(0.1, 0.2, 0.3, 0.6), track_id=7)
UNTRACKED = Detection("person", 0.5, Box(0.1, 0.2, 0.3, 0.6))
CORNERS = [20.0, 20.0, 60.0, 60.0]


def supervision(**parts: Any) -> SimpleNamespace:
    """The attributes of `supervision.Detections`, which are all that is read."""
    whole: dict[str, Any] = {
        "xyxy": np.array([CORNERS]),
        "confidence": None,
        "class_id": None,
        "tracker_id": None,
        "data": {},
    }
    return SimpleNamespace(**{**whole, **parts})


def ultralytics(ids: Any = None) -> SimpleNamespace:
    boxes = SimpleNamespace(xyxy=np.array([CORNERS]), conf=np.array([0.5]), cls=np.array([0.0]), id=ids)
    return SimpleNamespace(boxes=boxes, names={0: "person"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Result((PERSON,)), (PERSON,)),
        (None, ()),
        ([], ()),
        (PERSON, (PERSON,)),
        ([PERSON, UNTRACKED], (PERSON, UNTRACKED)),
        (supervision(confidence=np.array([0.5]), class_id=np.array([0]), tracker_id=np.array([7])), (PERSON,)),
        (supervision(confidence=np.array([0.5]), data={"class_name": np.array(["person"])}), (UNTRACKED,)),
        (ultralytics(), (UNTRACKED,)),
        ([ultralytics(np.array([7.0]))], (PERSON,)),
        (
            {"predictions": [{"x": 40, "y": 40, "width": 40, "height": 40, "class": "person", "confidence": 0.5}]},
            (UNTRACKED,),
        ),
        ([{"bbox": [20, 20, 40, 40], "category_name": "person", "score": 0.5}], (UNTRACKED,)),
        ([{"bbox": [20, 20, 40, 40], "category_id": 0, "score": 0.5}], (UNTRACKED,)),
        (np.array([[*CORNERS, 0.5, 0]], np.float32), (UNTRACKED,)),
        (np.array([[*CORNERS, 0.5]]), (UNTRACKED,)),
        (np.empty((0, 6)), ()),
    ],
)
def test_every_known_form_becomes_the_same_detections(value: Any, expected: tuple[Detection, ...]) -> None:
    assert to_result(value, FRAME, labels=("person",)) == Result(expected)


def test_boxes_outside_the_picture_are_clipped_and_empty_ones_go() -> None:
    rows = np.array([[-50, -50, 100, 50, 0.5, 0], [300, 300, 400, 400, 0.5, 0]])
    assert to_result(rows, FRAME).detections == (Detection("class 0", 0.5, Box(0, 0, 0.5, 0.5)),)


@pytest.mark.parametrize("value", [3, "person", object(), [1, 2], np.zeros((2, 4)), {"boxes": []}])
def test_anything_else_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        to_result(value, FRAME)


@pytest.mark.parametrize("row", [[np.nan, 0, 1, 1, 0.5, 0], [0, 0, 10, 10, np.nan, 0], [0, 0, 10, 10, 2.0, 0]])
def test_values_out_of_range_are_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no numbers|0-1"):
        to_result(np.array([row]), FRAME)
