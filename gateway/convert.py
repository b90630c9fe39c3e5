"""What authors' libraries return, as a Result: checked and made plain once, at the plugin's edge.

Nothing is imported for it: each form is told by what it has. Boxes outside the picture are clipped, empty ones go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gateway.results import Box, Detection, Result, Sized

Form = tuple[Callable[[Any], bool], Callable[[Any, Sized, Sequence[str]], Iterator[Detection]]]


def to_result(value: Any, frame: Sized, labels: Sequence[str] = ()) -> Result:
    """A Result of whatever an analyzer returned for `frame`.

    Taken are a Result; None (looked and found nothing); one Detection or a list of them; `supervision.Detections`;
    Ultralytics results, alone or in a list; a Roboflow answer (`{"predictions": [...]}`) or its predictions; COCO
    annotations (`{"bbox": [x, y, w, h], ...}` in px); and an (n, 5) or (n, 6) array of x1, y1, x2, y2 in px, score and
    class, whose names are `labels`. Raises `TypeError` for anything else and `ValueError` for values out of range.
    """
    if isinstance(value, Result):
        return value
    if value is None:
        return Result()
    return Result(tuple(_detections(value, frame, labels)))


def _detections(value: Any, frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    for fits, read in _FORMS:
        if fits(value):
            yield from read(value, frame, labels)
            return
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _detections(item, frame, labels)
        return
    raise TypeError(f"expected a Result, detections or what a detection library returns, got {type(value).__name__}")


def _detection(
    frame: Sized, label: object, score: object, corners: Sequence[Any], track_id: object = None
) -> Iterator[Detection]:
    """One detection from px corners; none if nothing of it is inside the picture."""
    x1, y1, x2, y2 = (float(value) for value in corners)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError(f"a box of {label} has corners that are no numbers: {x1}, {y1}, {x2}, {y2}")
    box = Box.from_pixels(x1, y1, x2, y2, frame)
    if box.area > 0:
        track = None if track_id is None else int(track_id)  # type: ignore[call-overload]
        yield Detection(str(label), float(score), box, track)  # type: ignore[arg-type]


def _name(index: Any, names: Mapping[int, str] | Sequence[str]) -> str:
    number = int(index)
    if isinstance(names, Mapping):
        return names.get(number, f"class {number}")
    return names[number] if 0 <= number < len(names) else f"class {number}"


def _own(value: Detection, frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    yield value


def _supervision(value: Any, frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    """`supervision.Detections`: parallel arrays, any but `xyxy` may be None."""
    names = value.data.get("class_name") if value.data else None
    for index, corners in enumerate(value.xyxy):
        kind = value.class_id[index] if value.class_id is not None else 0
        label = names[index] if names is not None else _name(kind, labels)
        score = value.confidence[index] if value.confidence is not None else 1.0
        track = value.tracker_id[index] if value.tracker_id is not None else None
        yield from _detection(frame, label, score, corners, track)


def _ultralytics(value: Any, frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    """`ultralytics.engine.results.Results`: tensors under `boxes`, names by class id; `id` only after tracking."""
    boxes = value.boxes
    if boxes is None:
        return
    tracks = boxes.id.tolist() if boxes.id is not None else [None] * len(boxes.cls)
    rows = zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), tracks, strict=True)
    for corners, score, kind, track in rows:
        yield from _detection(frame, _name(kind, value.names), score, corners, track)


def _roboflow(value: Mapping[str, Any], frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    for item in value["predictions"]:
        yield from _prediction(item, frame, labels)


def _prediction(value: Mapping[str, Any], frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    """A Roboflow prediction: centre and size in px."""
    x, y, half_width, half_height = value["x"], value["y"], value["width"] / 2, value["height"] / 2
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    yield from _detection(frame, value["class"], value["confidence"], corners, value.get("tracker_id"))


def _coco(value: Mapping[str, Any], frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    """A COCO annotation or result: top left corner and size in px."""
    x, y, width, height = value["bbox"]
    label = value.get("category_name") or value.get("category") or _name(value.get("category_id", 0), labels)
    yield from _detection(frame, label, value.get("score", 1.0), (x, y, x + width, y + height), value.get("track_id"))


def _array(value: Any, frame: Sized, labels: Sequence[str]) -> Iterator[Detection]:
    if value.ndim != 2 or value.shape[1] not in (5, 6):
        raise TypeError(f"expected an array of shape (n, 5) or (n, 6), got {tuple(value.shape)}")
    for row in value.tolist():
        yield from _detection(frame, _name(row[5] if len(row) == 6 else 0, labels), row[4], row[:4])


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(key in value for key in keys)


_FORMS: tuple[Form, ...] = (
    (lambda value: isinstance(value, Detection), _own),
    (lambda value: hasattr(value, "xyxy") and hasattr(value, "tracker_id"), _supervision),
    (lambda value: hasattr(value, "boxes") and hasattr(value, "names"), _ultralytics),
    (_has("predictions"), _roboflow),
    (_has("x", "y", "width", "height", "class", "confidence"), _prediction),
    (_has("bbox"), _coco),
    (lambda value: hasattr(value, "ndim") and hasattr(value, "tolist"), _array),
)
