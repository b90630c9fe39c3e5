"""HTTP sources: what the answer says it is decides how it is read. Nobody but us opens a connection."""

from __future__ import annotations

import socket
from pathlib import Path

import av
import pytest

from tests.media.pulling import Watcher, pool, pull
from tests.media.web_camera import WebCamera, web_camera
from tests.pictures import picture


async def watched(home: Path, camera: WebCamera, path: str, count: int = 3, **how: object) -> Watcher:
    """What is heard of a camera until so many pictures, or an error, have come."""
    async with pool(home, camera.port, snapshot_s=0.1) as running:
        feed, watcher = pull(running, camera.url.replace("//", f"//{how.pop('user', '')}", 1) + path, **how)
        await watcher.until(lambda: len(watcher.shots) >= count or watcher.codes)
        running.close(feed)
    return watcher


@pytest.mark.slow
async def test_motion_jpeg_passes_through_as_it_came(tmp_path: Path) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, "/mjpeg", 6)
    assert watcher.states == ["connecting", "online"]
    assert set(watcher.jpegs) <= {picture(colour) for colour in ("red", "green", "blue")}
    assert [shot.at for shot in watcher.shots] == sorted(shot.at for shot in watcher.shots)


async def test_a_picture_larger_than_wished_is_made_smaller(tmp_path: Path) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, "/mjpeg", 1, side=80)
    assert (watcher.shots[0].width, watcher.shots[0].height) == (80, 60)


async def test_single_pictures_are_asked_for_again_and_again(tmp_path: Path) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, "/still.jpg", 4)
        assert len(camera.asked) >= 4
    assert len(set(watcher.jpegs)) == 3


async def test_a_png_becomes_a_jpeg(tmp_path: Path) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, "/still.png", 1)
    assert watcher.jpegs[0][:2] == b"\xff\xd8"


@pytest.mark.parametrize("path", ["/basic", "/digest"])
@pytest.mark.slow
async def test_the_credential_is_sent_when_it_is_asked_for(tmp_path: Path, path: str) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, path, 2, user="u:p@")
        assert [bool(credential) for _, credential in camera.asked[:3]] == [False, True, True]
    assert not watcher.codes


@pytest.mark.parametrize(
    ("path", "state", "code"),
    [
        ("/basic", "auth_failed", "auth"),
        ("/nothing", "lost", "not_found"),
        ("/html", "lost", "protocol"),
        ("/mute", "lost", "timeout"),
    ],
)
@pytest.mark.slow
async def test_every_way_to_fail_has_its_word(tmp_path: Path, path: str, state: str, code: str) -> None:
    with web_camera() as camera:
        watcher = await watched(tmp_path, camera, path)
    assert (watcher.states[-1], watcher.codes) == (state, [code])


async def test_a_redirect_is_followed_to_where_it_may(tmp_path: Path) -> None:
    with web_camera() as camera:
        camera.location = "/still.jpg"
        watcher = await watched(tmp_path, camera, "/moved", 2)
    assert not watcher.codes


@pytest.mark.parametrize("kind", ["another port", "itself", "a file"])
@pytest.mark.slow
async def test_a_redirect_to_where_it_must_not_is_refused_before_a_connection(tmp_path: Path, kind: str) -> None:
    with web_camera() as camera, socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0)
        places = {
            "another port": (f"http://127.0.0.1:{victim.getsockname()[1]}/", "address"),
            "itself": ("/moved", "redirect"),
            "a file": ("file:///etc/passwd", "redirect"),
        }
        camera.location, code = places[kind]
        watcher = await watched(tmp_path, camera, "/moved")
        assert watcher.codes == [code]
        assert len(camera.asked) == (4 if kind == "itself" else 1)
        with pytest.raises(BlockingIOError):
            victim.accept()


def segments(folder: Path) -> None:
    """Four seconds of HLS, made by FFmpeg inside PyAV."""
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
        stream = out.add_stream("libx264", rate=15, options={"g": "15", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(60):
            for packet in stream.encode(av.VideoFrame(160, 120, "yuv420p")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)


@pytest.mark.slow
async def test_a_playlist_is_read_with_its_segments_at_its_own_rate(tmp_path: Path) -> None:
    segments(tmp_path)
    with web_camera(tmp_path) as camera:
        watcher = await watched(tmp_path, camera, "/files/live.m3u8", 12)
        assert {path for path, _ in camera.asked} >= {"/files/live.m3u8"}
    assert not watcher.codes
    assert watcher.shots[-1].at >= 0.6
    spread = (watcher.shots[-1].captured_us or 0) - (watcher.shots[0].captured_us or 0)
    assert spread >= 0


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/x.ts", "file:///etc/passwd", "http://localhost:{port}/x.ts"]
)
@pytest.mark.slow
async def test_a_playlist_that_points_elsewhere_is_refused(tmp_path: Path, target: str) -> None:
    with web_camera(tmp_path) as camera, socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0)
        url = target.format(port=victim.getsockname()[1])
        (tmp_path / "evil.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
        watcher = await watched(tmp_path, camera, "/files/evil.m3u8")
        assert watcher.states[-1] == "lost"
        with pytest.raises(BlockingIOError):
            victim.accept()


@pytest.mark.slow
async def test_a_body_that_is_a_playlist_in_disguise_opens_nothing(tmp_path: Path) -> None:
    with web_camera(tmp_path) as camera, socket.create_server(("127.0.0.1", 0)) as victim:
        victim.settimeout(0)
        url = f"http://127.0.0.1:{victim.getsockname()[1]}/x.ts"
        (tmp_path / "a.ts").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
        (tmp_path / "b.ts").write_text(f"ffconcat version 1.0\nfile {url}\n")
        for name in ("a.ts", "b.ts"):
            watcher = await watched(tmp_path, camera, f"/files/{name}")
            assert watcher.codes in (["codec"], ["protocol"])
        with pytest.raises(BlockingIOError):
            victim.accept()
