"""Streams over a real server: request, list, look, end; the lease as a client sees it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.sockets import pong, socket_to
from tests.wire import Reader

pytestmark = pytest.mark.e2e


def test_a_stream_is_described_in_the_list_and_by_itself(server: Server) -> None:
    stream_id = server.open(name="door", analyzers=["motion"], max_fps=30)
    status = server.show(stream_id)
    assert status.pop("created_at").endswith("Z")
    assert status.pop("expires_at").endswith("Z")
    assert status.pop("age_s") >= 0
    assert status.pop("analyzers")[0]["name"] == "motion"
    assert status == {
        "stream_token": stream_id,
        "stream_id": stream_id,
        "video_uuid": stream_id,
        "video_id": stream_id,
        "websocket_url": f"/ws/stream/{stream_id}",
        "status": "active",
        "video_url": f"/stream/video/{stream_id}",
        "viewer_url": f"/viewer?stream_id={stream_id}",
        "snapshot_url": f"/stream/{stream_id}/snapshot.jpg",
        "events_url": f"/stream/{stream_id}/events",
        "whip_url": f"/stream/{stream_id}/whip",
        "whep_url": f"/stream/{stream_id}/whep",
        "name": "door",
        "camera_id": None,
        "state": "waiting",
        "reason": None,
        "paused": False,
        "options": {},
        "camera": None,
        "publishers": 0,
        "viewers": 0,
        "fps_in": 0.0,
        "fps_analyzed": 0.0,
        "frames_in": 0,
        "clock_skew_s": None,
        "frames_analyzed": 0,
        "dropped": {"ingest": {}, "analysis": {}, "viewers": {}},
        "events_open": 0,
        "width": None,
        "height": None,
        "zones": [],
    }
    listed = server.http.get("/stream").json()
    assert listed["next"] is None
    assert stream_id in [item["stream_id"] for item in listed["items"]]


def test_the_state_follows_the_frames_and_counts_who_is_there(server: Server) -> None:
    stream_id = server.open()
    with socket_to(server, stream_id) as camera, socket_to(server, stream_id):
        camera.send(picture("red"))
        pong(camera)
        eventually(lambda: server.show(stream_id)["viewers"] == 1)
        status = server.show(stream_id)
    assert (status["state"], status["publishers"], status["frames_in"]) == ("live", 1, 1)
    assert (status["width"], status["height"]) == (160, 120)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"analyzers": "motion"}, "body.analyzers"),
        ({"grace_s": -1}, "body.grace_s"),
        ({"max_fps": 0}, "body.max_fps"),
        ({"name": "x" * 65}, "body.name"),
        ({"name": "door\r\nX-Header: 1"}, "body.name"),
        ({"name": "\x1b[31mred"}, "body.name"),
        ({"name": "\u202edoor"}, "body.name"),
        ({"options": {"motion": 5}}, "body.options.motion"),
    ],
)
def test_a_wrong_wish_is_a_problem_that_names_the_field(server: Server, wish: object, field: str) -> None:
    answer = server.http.post("/stream/request", json=wish)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert (problem["code"], [item["field"] for item in problem["errors"]]) == ("invalid", [field])


@pytest.mark.parametrize(
    ("wish", "code", "hint"),
    [
        ({"analyzers": ["moton"]}, "unknown_analyzer", "did you mean motion?"),
        ({"analyzers": ["motion"], "options": {"motion": {"sensitivty": 1}}}, "unknown_option", "mean sensitivity?"),
        ({"analyzers": [], "options": {"motion": {}}}, "unknown_option", "not among"),
        ({"analyzers": ["motion"], "options": {"motion": {"fps": 0}}}, "unknown_option", "above 0"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(server: Server, wish: object, code: str, hint: str) -> None:
    problem = server.http.post("/stream/request", json=wish).json()
    assert (problem["status"], problem["code"]) == (422, code)
    assert hint in problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"more": 1}'])
def test_the_body_of_a_request_is_optional(server: Server, body: bytes) -> None:
    answer = server.http.post("/stream/request", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["analyzers"]) == (200, ["motion"])


def test_a_stream_is_ended_in_every_state_and_only_once(server: Server) -> None:
    waiting, live, watched = server.open(), server.open(), server.open()
    server.push(live, picture("red"))
    with socket_to(server, watched), Reader(server, f"/stream/video/{watched}?width=320"):
        for stream_id in (waiting, live, watched):
            first = server.http.delete(f"/stream/{stream_id}")
            assert (first.status_code, first.content) == (204, b"")
            second = server.http.delete(f"/stream/{stream_id}")
            assert (second.status_code, second.json()["code"]) == (404, "session_ended")
            assert second.json()["reason"] == "deleted"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A gateway with room for one stream with two viewers, and short memory and leases."""
    limits = {"FRAMEGATE_LIMITS__MAX_SESSIONS": "1", "FRAMEGATE_LIMITS__MAX_VIEWERS": "2"}
    with running(
        tmp_path_factory.mktemp("small"), FRAMEGATE_LEASE_S="0.5", FRAMEGATE_STREAM__ENDED_KEPT_S="0.3", **limits
    ) as found:
        yield found


def test_at_capacity_is_503_with_retry_after_and_recovers(small: Server) -> None:
    stream_id = small.open()
    full = small.http.post("/stream/request")
    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "at_capacity", "5")
    small.http.delete(f"/stream/{stream_id}")
    small.http.delete(f"/stream/{small.open()}")


def test_one_viewer_too_many_is_503_on_every_transport(small: Server) -> None:
    stream_id = small.open()
    with socket_to(small, stream_id), socket_to(small, stream_id):
        for path in (
            f"/stream/video/{stream_id}",
            f"/stream/video/{stream_id}?width=320",
            f"/stream/{stream_id}/events",
        ):
            answer = small.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "viewer_limit")
            assert answer.headers["retry-after"] == "5"
    small.http.delete(f"/stream/{stream_id}")


def test_a_stream_nobody_joins_ends_with_its_lease_and_is_forgotten(small: Server) -> None:
    stream_id = small.open()
    ended = eventually(lambda: (a := small.http.get(f"/stream/{stream_id}")).status_code == 404 and a.json())
    assert (ended["code"], ended["reason"]) == ("session_ended", "never_joined")
    eventually(lambda: small.http.get(f"/stream/{stream_id}").json()["code"] == "not_found")


def test_mjpeg_readers_hold_a_stream_until_its_lease_ends(small: Server) -> None:
    stream_id = small.http.post("/stream/request", json={"analyzers": [], "grace_s": 0}).json()["stream_id"]
    with Reader(small, f"/stream/video/{stream_id}") as watching:
        with socket_to(small, stream_id) as camera:
            camera.send(picture("red"))
            pong(camera)
        eventually(lambda: small.show(stream_id)["publishers"] == 0)
        watching.rest()  # ends with the stream
    assert small.http.get(f"/stream/{stream_id}").json()["reason"] == "lease_expired"


def test_the_stats_of_a_stream_have_the_counts_of_older_clients(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    early = server.http.get(f"/stream/{stream_id}/stats")
    assert (early.status_code, early.json()["code"]) == (503, "no_frame_yet")
    server.push(stream_id, picture("red"), wait=1)
    eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
    server.push(stream_id, picture("red"), wait=1)
    stats = server.http.get(f"/stream/{stream_id}/stats").json()
    assert {key: stats[key] for key in ("camera_id", "faces", "ids", "bags", "owned")} == {
        "camera_id": None,
        **dict.fromkeys(("faces", "ids", "bags", "owned"), 0),
    }
    assert stats["measures"].keys() == {"motion"}


def test_session_ids_count_the_streams_of_a_day(server: Server) -> None:
    def number() -> tuple[str, int]:
        stream_id = server.open()
        server.push(stream_id, picture("red"))
        found = re.fullmatch(r"(S_\d{4}_\d\d_\d\d)_(\d{4,})", _stats(server, stream_id)["session_id"])
        assert found is not None
        return found[1], int(found[2])

    (day, first), (next_day, second) = number(), number()
    assert second == (first + 1 if day == next_day else 1)


def _stats(server: Server, stream_id: str) -> dict[str, Any]:
    stats: dict[str, Any] = server.http.get(f"/stream/{stream_id}/stats").json()
    return stats
