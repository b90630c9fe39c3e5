"""Pictures from files, drawn by the tests themselves; a real clip where the media are."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from gateway.commands.sources import SourceFailed, Thinner, open_source, shrink, upright
from gateway.jpeg import read_header


def draw(width: int = 64, height: int = 48, grey: int = 128) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def write_video(path: Path, *, frames: int, fps: int = 10) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(grey=number * 8), format="bgr24")))
        container.mux(stream.encode())
    return path


def times(text: object, *, fps: float | None = None, loop: bool = False, most: int = 1000) -> list[float]:
    pictures = open_source(str(text), fps=fps, loop=loop).pictures()
    return [round(picture.at, 3) for picture, _ in zip(pictures, range(most), strict=False)]


def test_a_video_comes_once_at_its_own_rate(tmp_path: Path) -> None:
    assert times(write_video(tmp_path / "v.mp4", frames=5)) == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_fps_thins_a_video(tmp_path: Path) -> None:
    assert times(write_video(tmp_path / "v.mp4", frames=10), fps=5) == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_a_looped_video_goes_on_in_time(tmp_path: Path) -> None:
    found = times(write_video(tmp_path / "v.mp4", frames=3), loop=True, most=7)
    assert len(found) == 7
    assert found == sorted(set(found))


def test_a_video_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.mpg", frames=20).read_bytes()
    broken = tmp_path / "broken.mpg"
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    assert 0 < len(times(broken)) <= 20


@pytest.mark.parametrize("content", [b"", b"no video at all", os.urandom(5000)])
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.mp4"
    file.write_bytes(content)
    with pytest.raises(SourceFailed) as failed:
        times(file)
    assert "\n" not in str(failed.value)


def test_the_thinner_keeps_its_rate_on_the_average() -> None:
    thinner = Thinner(10)
    assert sum(thinner.passes(number / 25) for number in range(250)) == 100
    assert all(Thinner(None).passes(number / 25) for number in range(10))


def test_pictures_come_in_the_order_people_count(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"shot{number}.jpg"), draw(width=64 + 2 * number))
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = list(open_source(str(tmp_path), fps=2, loop=False).pictures())
    assert [(read_header(picture.jpeg).width, picture.at) for picture in pictures] == [(66, 0.0), (82, 0.5), (84, 1.0)]
    assert times(f"{tmp_path}/shot1*.jpg") == [0.0, 0.2]


def test_jpeg_goes_as_it_is_and_other_pictures_become_jpeg(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), draw())
    cv2.imwrite(str(tmp_path / "b.png"), draw(width=80))
    as_it_is, encoded = open_source(str(tmp_path), fps=None, loop=False).pictures()
    assert as_it_is.jpeg == (tmp_path / "a.jpg").read_bytes()
    assert read_header(encoded.jpeg).width == 80


def test_a_file_that_is_no_picture_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), draw())
    (tmp_path / "b.png").write_bytes(b"junk")
    assert times(tmp_path) == [0.0]
    assert "b.png: not a picture, left out" in capsys.readouterr().err


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(SourceFailed, match="not one picture"):
        times(tmp_path, loop=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/no/such", "no such file, device or folder"),
        ("/dev/video99", "cannot be opened as video"),
        ("99", "cannot be opened as video"),
        ("rtsp://cam/1", "pulled by the gateway"),
        ("/no/such*.jpg", "no such file"),
    ],
)
def test_what_is_not_there_is_said(text: str, reason: str) -> None:
    with pytest.raises(SourceFailed, match=reason):
        times(text)


def test_a_phones_turn_is_undone() -> None:
    class Turned:
        rotation = -90

        def to_ndarray(self, format: str) -> np.ndarray:
            picture = draw(width=4, height=2)
            picture[0, 0] = 255  # top left as stored; a quarter turn clockwise makes it top right
            return picture

    picture = upright(Turned())
    assert picture.shape == (4, 2, 3)
    assert picture[0, 1, 0] == 255


def test_a_picture_too_large_for_one_message_is_halved() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 600, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    small = shrink(jpeg, 40_000)
    assert len(small) <= 40_000
    assert read_header(small).width in (300, 150)
    with pytest.raises(SourceFailed, match="cannot be sent"):
        shrink(jpeg, 10)


def test_a_real_clip_keeps_its_rate() -> None:
    folder = os.environ.get("FRAMEGATE_MEDIA_DIR")
    if not folder:
        pytest.skip("FRAMEGATE_MEDIA_DIR is not set: real clips are missing")
    found = times(Path(folder) / "clips" / "faces_whitehouse.mp4", most=60)
    assert len(found) == 60
    assert found[0] == 0.0
    assert 0.02 < (found[-1] - found[0]) / 59 < 0.05
