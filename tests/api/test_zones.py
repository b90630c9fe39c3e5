"""Zones over a real server: drawn with a request, changed while it runs, refused with the reason."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from tests.pictures import picture, pixels
from tests.server import Server

pytestmark = pytest.mark.e2e

HALL = {"name": "hall", "points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "loiter_s": 5}
GATE = {"name": "gate", "points": [[0.5, 0], [0.5, 1]], "kind": "line"}
SHOWN = [
    {
        "name": "hall",
        "kind": "area",
        "points": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]],
        "anchor": "foot",
        "intrusion": False,
        "loiter_s": 5.0,
        "crowd": None,
    },
    {"name": "gate", "kind": "line", "points": [[0.5, 0.0], [0.5, 1.0]]},
]


def refusal(server: Server, **wish: Any) -> tuple[int, str]:
    answer = server.http.post("/stream/request", json={"analyzers": [], **wish})
    return answer.status_code, answer.json()["code"] + ": " + answer.json()["detail"]


def test_zones_are_drawn_shown_changed_and_taken_away(server: Server) -> None:
    stream_id = server.open(zones=[HALL, GATE])
    assert server.show(stream_id)["zones"] == SHOWN
    changed = server.http.patch(f"/stream/{stream_id}", json={"name": "door"})
    assert changed.json()["zones"] == SHOWN
    changed = server.http.patch(f"/stream/{stream_id}", json={"zones": [GATE]})
    assert changed.json()["zones"] == SHOWN[1:]
    changed = server.http.patch(f"/stream/{stream_id}", json={"zones": None})
    assert changed.json()["zones"] == []


def test_what_is_no_zone_is_refused_and_changes_nothing(server: Server) -> None:
    crossed = {**HALL, "points": [[0, 0], [1, 1], [1, 0], [0, 1]]}
    reason = "bad_zone: zone 'hall': its outline crosses or touches itself (Self-intersection[0.5 0.5])"
    status, detail = refusal(server, zones=[crossed])
    assert (status, detail.startswith(reason)) == (422, True)
    stream_id = server.open(zones=[HALL])
    assert server.http.patch(f"/stream/{stream_id}", json={"zones": [crossed]}).status_code == 422
    assert server.show(stream_id)["zones"] == SHOWN[:1]
    status, detail = refusal(server, zones=[{**HALL, "points": [[0, 0], [1.5, 0], [1, 1]]}])
    assert (status, detail) == (422, "invalid: body.zones.0.points.1.0: Input should be less than or equal to 1")
    status, detail = refusal(server, zones=[{**HALL, "name": str(n)} for n in range(33)])
    assert (status, "at most 32 items" in detail) == (422, True)


def test_an_option_names_zones_of_the_stream(server: Server) -> None:
    wish = {"analyzers": ["motion"], "options": {"motion": {"zones": ["hal"]}}}
    assert refusal(server, **wish, zones=[HALL]) == (
        422,
        "unknown_option: analyzer motion, option zones: the stream has no zone 'hal'; did you mean hall?",
    )


def test_what_moves_is_told_with_the_zone_it_is_in(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"], zones=[HALL, {**GATE, "name": "line"}])
    zones: dict[str, set[tuple[str, ...]]] = {"left": set(), "right": set()}
    for number in range(60):
        for side, left in (("left", 20), ("right", 220)):
            answer = server.push(stream_id, square_at(left + 2 * number % 60), wait=1)
            found = answer["analyzers"]["motion"].get("detections", [])
            zones[side] |= {tuple(one["zones"]) for one in found if (one["box"][0] < 0.5) == (one["box"][2] < 0.5)}
    assert zones["left"] | zones["right"] == {("hall",), ()}


def square_at(left: int) -> bytes:
    """A white square on grey, 320 x 180 px."""
    drawn = np.full((180, 320, 3), 90, np.uint8)
    drawn[80:140, left : left + 40] = 250
    return cv2.imencode(".jpg", drawn)[1].tobytes()


def test_zones_are_burnt_into_pictures_for_who_asks(server: Server) -> None:
    stream_id = server.open(zones=[HALL])
    server.push(stream_id, picture("black", (320, 180)))
    path = f"/stream/{stream_id}/snapshot.jpg"
    bare, boxes, zones = (server.http.get(path, params=query) for query in ({}, {"draw": "boxes"}, {"draw": "zones"}))
    edge = [int(pixels(answer.content)[95:105, 150:170].max()) for answer in (bare, boxes, zones)]
    assert edge[:2] == [0, 0]
    assert edge[2] > 200
    assert len({answer.headers["etag"] for answer in (bare, boxes, zones)}) == 3
