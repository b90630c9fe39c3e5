"""Files drawn here, read by OpenCV and by PyAV and published."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from framegate_client import AsyncClient, Client, Frame, OpenCV, Picture, PyAV, SourceFailed

from tests.pictures import COLOURS, colour_of, pixels

FPS, ORDER = 25, ["red", "green", "blue", "yellow", "white"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture of each colour, as MPEG-4."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 4_000_000
        stream.codec_context.time_base = Fraction(1, FPS)
        for number, colour in enumerate(ORDER):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), COLOURS[colour], np.uint8), format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("open_source", [OpenCV, PyAV])
def test_a_file_gives_all_its_pictures_at_its_own_rate(clip: Path, open_source: type[OpenCV | PyAV]) -> None:
    source = open_source(clip)
    assert not source.live
    began = time.monotonic()
    pictures = list(source)
    assert time.monotonic() - began >= 4 / FPS
    assert [colour_of(_bytes(picture)) for picture in pictures] == ORDER
    moments = [picture.captured_at.timestamp() for picture in pictures]  # type: ignore[union-attr]
    assert [round((moment - moments[0]) * FPS) for moment in moments] == [0, 1, 2, 3, 4]


def _bytes(picture: Picture) -> bytes:
    assert isinstance(picture.image, bytes)
    return picture.image


def test_what_was_given_open_stays_open(clip: Path) -> None:
    capture = cv2.VideoCapture(str(clip))
    assert len(list(OpenCV(capture))) == 5
    assert capture.isOpened()
    capture.release()
    with av.open(str(clip)) as container:
        assert len(list(PyAV(container))) == 5
        container.seek(0)
        assert len(list(PyAV(container))) == 5


def test_live_is_what_has_no_end_or_is_said_to_be(clip: Path) -> None:
    assert OpenCV(clip, live=True).live
    assert PyAV(clip, live=True).live


def test_a_turned_picture_is_sent_upright(tmp_path: Path) -> None:
    """As phones store it: the turn stands beside the pictures."""
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8), format="bgr24")))
        container.mux(stream.encode())
    turned = _with_turn(path.read_bytes())
    path.write_bytes(turned)
    (picture,) = PyAV(path)
    assert pixels(_bytes(picture)).shape == (160, 120, 3)


def _with_turn(mp4: bytes) -> bytes:
    """The file with its track's matrix turned by 90 degrees (ISO 14496-12 8.3.2)."""
    one = 0x00010000
    upright = b"".join(value.to_bytes(4, "big") for value in (one, 0, 0, 0, one, 0, 0, 0, 0x40000000))
    right = b"".join((value % 2**32).to_bytes(4, "big") for value in (0, one, 0, -one, 0, 0, 120 << 16, 0, 0x40000000))
    track = mp4.index(b"tkhd")
    return mp4[:track] + mp4[track:].replace(upright, right, 1)


@pytest.mark.parametrize("open_source", [OpenCV, PyAV])
def test_a_source_that_cannot_be_opened_says_so(tmp_path: Path, open_source: type[OpenCV | PyAV]) -> None:
    (tmp_path / "notes.avi").write_text("not a video")
    for name in ("missing.avi", "notes.avi"):
        with pytest.raises(SourceFailed, match=name):
            open_source(tmp_path / name)


async def test_pictures_of_a_file_are_published_with_their_times(client: AsyncClient, clip: Path) -> None:
    stream, source = await client.request(analyzers=[]), PyAV(clip)
    async with client.watch(stream, frames="binary", topics=[]) as viewer, client.publish(stream) as camera:
        assert await camera.run(source) == 5
        async for message in viewer:
            if isinstance(message, Frame) and message.seq == 4:
                break
    assert message.captured_at is not None  # type: ignore[attr-defined]
    assert colour_of(message.jpeg) == "white"  # type: ignore[attr-defined]


def test_an_opencv_capture_is_published_by_a_plain_script(blocking: Client, clip: Path) -> None:
    stream = blocking.request(analyzers=[])
    with blocking.publish(stream) as camera:
        assert camera.run(OpenCV(cv2.VideoCapture(str(clip)))) == 5
    assert blocking.status(stream).frames_in == 5
    assert colour_of(blocking.snapshot(stream)) == "white"
