"""An event's picture and clip, from frames pushed to a real server to the file that a player gets."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.media.gstreamer import gstreamer
from tests.media.pulling import free_port
from tests.media.web_camera import web_camera
from tests.pictures import colour_at, picture, pixels
from tests.server import Server, eventually, running
from tests.sockets import socket_to

# Red and black are events as long as they last, yellow are many at once.
COLOURS = """
from gateway import Analyzer, Box, Detection, Result, Sighting, hookimpl

class Colours(Analyzer):
    name = "colours"

    def analyze(self, frame, memory):
        blue, green, red = frame.to_bgr()[0, 0].tolist()
        box = Box(0.25, 0.25, 0.75, 0.75)
        if red > 200 and green > 200:
            return Result(sightings=tuple(Sighting("yellow", key=str(n), linger_s=0.3) for n in range(30)))
        if red + green + blue < 60:
            return Result(sightings=(Sighting("black", linger_s=0.3),))
        if red > 200:
            found = (Detection("red", 0.9, box),)
            return Result(found, sightings=(Sighting("red", score=0.9, box=box, linger_s=0.3),))
        return Result()

@hookimpl
def register_analyzers():
    return [Colours]
"""
FAST = {"PRE_S": "0.6", "POST_S": "0.6", "FPS": "10", "MOST_S": "4"}
FPS = 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("clips")
    (home / "colours.py").write_text(COLOURS)
    settings = {"FRAMEGATE_PLUGINS": json.dumps([str(home / "colours.py")]), "FRAMEGATE_MEDIA__FOLDERS": f'["{home}"]'}
    with running(home, **settings, **{f"FRAMEGATE_CLIPS__{key}": value for key, value in FAST.items()}) as found:
        yield found


def opened(gateway: Server) -> str:
    stream_id = gateway.open(analyzers=["colours"])
    eventually(lambda: gateway.show(stream_id)["analyzers"][0]["state"] == "ready")
    return stream_id


def show(gateway: Server, stream_id: str, *scenes: tuple[str, float]) -> None:
    """Push pictures of each colour for so many seconds."""
    for colour, seconds in scenes:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            gateway.push(stream_id, picture(colour, (320, 240)))
            time.sleep(1 / FPS)


def events(viewer: Any, *, until: str, within_s: float = 60.0) -> list[dict[str, Any]]:
    """What is told of events, to the first of this phase that has a clip, or to the end of one."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        said = json.loads(viewer.recv(timeout=deadline - time.monotonic()))
        if said["type"] == "event":
            found.append(said)
            if said["clip_url"] if until == "clip" else said["phase"] == until:
                return found
    raise AssertionError(f"no {until} within {within_s:g} s: {[one['phase'] for one in found]}")


def film(mp4: bytes) -> tuple[float, list[tuple[float, str]]]:
    """Its duration in s, and the time and colour of each picture."""
    with av.open(io.BytesIO(mp4), "r") as container:
        assert container.format.name.startswith("mov,mp4")
        assert container.streams.video[0].codec_context.name == "h264"
        shown = [
            (float(frame.time or 0), colour_at(frame.to_ndarray(format="bgr24").mean(axis=(0, 1)).tolist()))
            for frame in container.decode(video=0)
        ]
        return float(container.duration or 0) / 1e6, shown


def changes(shown: list[tuple[float, str]]) -> list[str]:
    colours = [colour for _, colour in shown]
    return colours[:1] + [after for before, after in pairwise(colours) if after != before]


@pytest.mark.slow
def test_an_event_gets_a_picture_at_once_and_a_clip_with_what_was_before_and_after(gateway: Server) -> None:
    stream_id = opened(gateway)
    with socket_to(gateway, stream_id) as viewer:
        show(gateway, stream_id, ("green", 1.5), ("red", 0.8))
        new = events(viewer, until="new")[-1]
        assert new["snapshot_url"] == f"/api/events/{new['id']}/snapshot.jpg"
        assert new["clip_url"] is None
        early = gateway.http.get(f"/events/{new['id']}/clip.mp4")
        assert (early.status_code, early.json()["code"]) == (503, "clip_pending")
        assert 1 <= int(early.headers["retry-after"]) <= 6
        show(gateway, stream_id, ("blue", 1.8))
        ready = events(viewer, until="clip")[-1]
    plain, drawn = gateway.http.get(new["snapshot_url"]), gateway.http.get(new["snapshot_url"] + "?draw=boxes")
    assert (plain.status_code, drawn.status_code) == (200, 200)
    assert plain.content == picture("red", (320, 240))
    assert colour_at(pixels(drawn.content)[120, 160].tolist()) == "red"
    assert abs(pixels(drawn.content).astype(int) - pixels(plain.content)).max() > 60  # a box, and its name
    assert (ready["id"], ready["phase"], ready["ended_at"] is None) == (new["id"], "update", False)
    answer = gateway.http.get(ready["clip_url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.content.find(b"moov") < answer.content.find(b"mdat")
    duration_s, shown = film(answer.content)
    assert changes(shown) == ["green", "red", "blue"]
    starts = {colour: next(at for at, seen in shown if seen == colour) for colour in ("red", "blue")}
    assert 0.5 <= starts["red"] <= 1.0
    assert 0.5 <= duration_s - starts["blue"] <= 1.8
    assert shown[0][0] == 0
    assert gateway.http.get(f"/events/{new['id']}/clip.mp4").content == answer.content
    assert gateway.http.get(f"/events/{new['id']}/snapshot.jpg").content == plain.content


@pytest.mark.slow
def test_a_clip_is_given_in_ranges_and_not_twice_to_who_has_it(gateway: Server) -> None:
    _, whole, url = made(gateway)
    size = len(whole)

    def asked(**headers: str) -> tuple[int, bytes, str | None]:
        answer = gateway.http.get(url, headers={key.replace("_", "-"): value for key, value in headers.items()})
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert asked(Range="bytes=0-99") == (206, whole[:100], f"bytes 0-99/{size}")
    assert asked(Range="bytes=100-") == (206, whole[100:], f"bytes 100-{size - 1}/{size}")
    assert asked(Range="bytes=-50") == (206, whole[-50:], f"bytes {size - 50}-{size - 1}/{size}")
    assert asked(Range="pages=1-2") == (200, whole, None)
    beyond = gateway.http.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range")
    assert beyond.headers["content-range"] == f"bytes */{size}"
    etag = gateway.http.get(url).headers["etag"]
    assert asked(If_None_Match=etag) == (304, b"", None)
    assert asked(If_Range=etag, Range="bytes=0-9")[:2] == (206, whole[:10])
    assert asked(If_Range='"another"', Range="bytes=0-9")[:2] == (200, whole)
    with av.open(gateway.url + url, "r", options={"seekable": "1"}) as player:  # as ffmpeg does it
        player.seek(round(0.9 * float(player.duration or 0)))
        assert float(next(player.decode(video=0)).time or 0) > 0.3  # a keyframe of its own, where the colour changes


def made(gateway: Server) -> tuple[dict[str, Any], bytes, str]:
    """An event with its clip, and where that is."""
    stream_id = opened(gateway)
    with socket_to(gateway, stream_id) as viewer:
        show(gateway, stream_id, ("green", 0.5), ("red", 0.3), ("blue", 1.2))
        ready = events(viewer, until="clip")[-1]
    answer = gateway.http.get(ready["clip_url"])
    assert answer.status_code == 200, answer.text
    return ready, answer.content, ready["clip_url"]


@pytest.mark.slow
def test_the_gateway_loads_no_codec_for_it(gateway: Server) -> None:
    made(gateway)
    loaded = {
        child.cmdline()[-1]: "libx264" in Path(f"/proc/{child.pid}/maps").read_text()
        for child in [psutil.Process(gateway.process.pid), *gateway.children()]
        if child.is_running() and child.cmdline()
    }
    assert loaded["clips"]
    assert not any(there for role, there in loaded.items() if role != "clips")


@pytest.mark.slow
def test_many_events_at_once_share_one_clip(gateway: Server) -> None:
    before = gateway.http.get("/status").json()["clips"]["made"]
    stream_id = opened(gateway)
    with socket_to(gateway, stream_id) as viewer:
        show(gateway, stream_id, ("green", 0.5), ("yellow", 0.3), ("red", 0.3), ("blue", 1.2))
        found = events(viewer, until="clip")
        while len({one["id"] for one in found if one["clip_url"]}) < 31:
            found += events(viewer, until="clip")
    clips = {gateway.http.get(one["clip_url"]).content for one in found if one["clip_url"]}
    assert len(clips) == 1
    assert changes(film(clips.pop())[1]) == ["green", "yellow", "red", "blue"]
    assert gateway.http.get("/status").json()["clips"]["made"] == before + 1
    (folder,) = (gateway.home / "data/media").glob(f"*-{stream_id}-*")
    assert len(list(folder.glob("*.json"))) == 31
    assert len(list(folder.glob("*.jpg"))) == 2  # thirty events were seen in one picture


def test_a_stream_that_ends_leaves_what_it_has(gateway: Server) -> None:
    stream_id = opened(gateway)
    with socket_to(gateway, stream_id) as viewer:
        show(gateway, stream_id, ("green", 0.5), ("red", 0.3))
        new = events(viewer, until="new")[-1]
    assert gateway.http.delete(f"/stream/{stream_id}").status_code == 204
    url = f"/api/events/{new['id']}/clip.mp4"
    eventually(lambda: gateway.http.get(url).status_code == 200)
    assert changes(film(gateway.http.get(url).content)[1]) == ["green", "red"]
    assert gateway.http.get(new["snapshot_url"]).content == picture("red", (320, 240))


def test_what_nobody_knows_is_not_found(gateway: Server) -> None:
    for place in ("snapshot.jpg", "clip.mp4"):
        for path in (f"/api/events/{'0' * 32}/{place}", f"/events/..%2f..%2fsecret/{place}"):
            answer = gateway.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.fixture(scope="module")
def walk(gateway: Server) -> tuple[Path, list[bytes]]:
    """Five seconds of H.264 with B-frames and a keyframe each half second: green, red, blue; and its packets."""
    path, packets = gateway.home / "walk.mp4", []
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "5", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for colour, count in (("green", 20), ("red", 10), ("blue", 20)):
            for number in range(count):
                shown = pixels(picture(colour, (320, 240))).copy()
                shown[120:150, 10 * number : 10 * number + 30] = 128  # no two packets are the same
                packets += stream.encode(av.VideoFrame.from_ndarray(shown, format="bgr24"))
        packets += stream.encode(None)
        out.mux(packets)
    return path, [slice_of(bytes(packet)) for packet in packets]


def slice_of(packet: bytes) -> bytes:
    """The end of what is coded in a packet, of which only the beginning is another in each container."""
    return packet[-8:]


def first_colour(gateway: Server, event: dict[str, Any]) -> str:
    return changes(film(gateway.http.get(event["clip_url"]).content)[1])[0]


@pytest.mark.slow
def test_h264_of_a_source_is_kept_as_it_came(gateway: Server, walk: tuple[Path, list[bytes]]) -> None:
    path, packets = walk
    wish = {"stream_url": f"file://{path}", "analyzers": ["colours"], "loop": True}
    stream_id = gateway.http.post("/stream/connect", json=wish).json()["stream_id"]
    with socket_to(gateway, stream_id) as viewer:
        ready = events(viewer, until="clip")[-1]
        while first_colour(gateway, ready) != "green":  # the first one may have begun with the pictures
            ready = events(viewer, until="clip")[-1]
    mp4 = gateway.http.get(ready["clip_url"]).content
    duration_s, shown = film(mp4)
    assert changes(shown) == ["green", "red", "blue"]
    assert 2 <= duration_s <= 4
    with av.open(io.BytesIO(mp4), "r") as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        assert found[0].is_keyframe
        coded = [slice_of(bytes(packet)) for packet in found]
    assert len(coded) == len(shown)
    first = packets.index(coded[0])
    assert coded == packets[first : first + len(coded)]
    gateway.http.delete(f"/stream/{stream_id}")


@pytest.mark.slow
def test_a_camera_of_h264_is_not_encoded_again(gateway: Server, tmp_path: Path) -> None:
    """GStreamer's RTSP server: a ball on black, 15 fps, a keyframe each second."""
    port = free_port()
    settings = {
        "FRAMEGATE_PLUGINS": json.dumps([str(gateway.home / "colours.py")]),
        "FRAMEGATE_MEDIA__ENDPOINTS": f'["127.0.0.1:{port}"]',
        "FRAMEGATE_CLIPS__PRE_S": "3",
        "FRAMEGATE_CLIPS__MOST_S": "6",
    }
    with gstreamer(port), running(tmp_path / "own", **settings) as own:
        wish = {
            "stream_url": f"rtsp://127.0.0.1:{port}/h264",
            "analyzers": ["colours"],
            "options": {"colours": {"fps": 2}},
        }
        stream_id = own.http.post("/stream/connect", json=wish).json()["stream_id"]
        own.http.post(f"/stream/{stream_id}/pause")
        eventually(lambda: own.show(stream_id)["camera"]["state"] == "online")
        time.sleep(5)
        with socket_to(own, stream_id) as viewer:
            own.http.post(f"/stream/{stream_id}/resume")
            ready = events(viewer, until="clip")[-1]
        own.http.delete(f"/stream/{stream_id}")
        mp4 = own.http.get(ready["clip_url"]).content
    with av.open(io.BytesIO(mp4), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 240)
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert packets[0].is_keyframe
        duration_s = float(container.duration or 0) / 1e6
    assert 4 <= duration_s <= 8
    assert abs(len(packets) - 15 * duration_s) <= 8  # all of them, though two a second were decoded
    with av.open(io.BytesIO(mp4), "r") as container:
        decoded = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(decoded) == len(packets)
    assert {(int(frame.max()) > 200, int(frame[0, 0]) < 40) for frame in decoded} == {(True, True)}  # the ball on black


@pytest.mark.slow
def test_a_camera_that_is_lost_has_a_clip_of_what_was_before(gateway: Server, tmp_path: Path) -> None:
    """Told so late that what a stream keeps while it is alive would be gone."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "still.jpg").write_bytes(picture("green", (320, 240)))
    with web_camera(folder) as camera:
        media = {"LOST_S": "8", "RETRY_MAX_S": "1", "SNAPSHOT_S": "0.1", "ENDPOINTS": f'["127.0.0.1:{camera.port}"]'}
        settings = {f"FRAMEGATE_CLIPS__{key}": value for key, value in FAST.items()}
        settings |= {f"FRAMEGATE_MEDIA__{key}": value for key, value in media.items()}
        settings["FRAMEGATE_PLUGINS"] = json.dumps([str(gateway.home / "colours.py")])
        with running(tmp_path / "own", **settings) as own:
            wish = {"stream_url": f"{camera.url}/files/still.jpg", "analyzers": ["colours"]}
            stream_id = own.http.post("/stream/connect", json=wish).json()["stream_id"]
            eventually(lambda: own.show(stream_id)["frames_in"] > 20)
            with socket_to(own, stream_id) as viewer:
                (folder / "still.jpg").unlink()
                ready = events(viewer, until="clip")[-1]
            duration_s, shown = film(own.http.get(ready["clip_url"]).content)
            snapshot = own.http.get(ready["snapshot_url"]).content
    assert (ready["event_type"], changes(shown), snapshot) == ("camera_lost", ["green"], picture("green", (320, 240)))
    assert 0.4 <= duration_s <= 2
