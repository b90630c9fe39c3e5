"""The latest picture of a real server: its ETag, its forms, and what is said when there is none."""

from __future__ import annotations

import pytest

from tests.pictures import colour_of, picture, pixels
from tests.server import Server, eventually

pytestmark = pytest.mark.e2e

CAPTURED = "2025-11-26T07:00:00.123Z"


def test_a_snapshot_is_the_latest_frame_as_it_came(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    server.push(stream_id, picture("green"), ts=CAPTURED)
    answer = server.http.get(f"/stream/{stream_id}/snapshot.jpg")
    assert (answer.status_code, answer.content) == (200, picture("green"))
    names = ("content-type", "content-length", "cache-control", "x-frame-seq", "x-stream-state", "x-capture-time")
    assert {name: answer.headers[name] for name in names} == {
        "content-type": "image/jpeg",
        "content-length": str(len(picture("green"))),
        "cache-control": "no-cache",
        "x-frame-seq": "1",
        "x-stream-state": "live",
        "x-capture-time": CAPTURED,
    }


def test_who_has_the_latest_picture_gets_304_until_the_next_frame(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    url = f"/stream/{stream_id}/snapshot.jpg"
    etag = server.http.get(url).headers["etag"]
    assert etag.startswith('"')
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = server.http.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert server.http.get(url, headers={"If-None-Match": etag}, params={"width": 320}).status_code == 200
    server.push(stream_id, picture("green"))
    newer = server.http.get(url, headers={"If-None-Match": etag})
    assert (newer.status_code, colour_of(newer.content)) == (200, "green")
    assert newer.headers["etag"] != etag


def test_a_snapshot_comes_drawn_scaled_and_recoded_on_request(server: Server) -> None:
    stream_id = server.open(analyzers=["motion"])
    server.push(stream_id, picture("blue", (800, 600)))
    url = f"/stream/{stream_id}/snapshot.jpg"
    answers = [server.http.get(url, params=form) for form in ({"draw": "boxes"}, {"width": 320}, {"quality": 20})]
    assert [(pixels(a.content).shape, colour_of(a.content)) for a in answers] == [
        ((600, 800, 3), "blue"),
        ((240, 320, 3), "blue"),
        ((600, 800, 3), "blue"),
    ]
    assert len({answer.headers["etag"] for answer in answers}) == 3


def test_without_a_frame_there_is_503_with_the_reason_and_when_to_ask_again(server: Server) -> None:
    answer = server.http.get(f"/stream/{server.open()}/snapshot.jpg")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "no_frame_yet", "1")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_picture_older_than_max_age_is_refused(server: Server) -> None:
    stream_id = server.open()
    server.push(stream_id, picture("red"))
    url = f"/stream/{stream_id}/snapshot.jpg"
    assert server.http.get(url, params={"max_age": 60}).status_code == 200
    old = eventually(lambda: (answer := server.http.get(url, params={"max_age": 0.05})).status_code == 503 and answer)
    assert (old.json()["code"], old.headers["retry-after"]) == ("stale", "1")


def test_a_snapshot_of_an_unknown_stream_is_404(server: Server) -> None:
    answer = server.http.get("/stream/nobody/snapshot.jpg")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
