"""Decoding in the worker: once per frame, no larger than anybody wishes, beside the analyzers where there is time."""

from __future__ import annotations

from pathlib import Path
from threading import current_thread
from typing import Any

import cv2
import pytest

from gateway.analyzer import Analyzer
from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import PluginSpec
from gateway.engine.work import Decoder, Item, split
from gateway.frame import Frame
from tests.doubles import jpeg

FLAGS = {
    cv2.IMREAD_COLOR: 1,
    cv2.IMREAD_REDUCED_COLOR_2: 2,
    cv2.IMREAD_REDUCED_COLOR_4: 4,
    cv2.IMREAD_REDUCED_COLOR_8: 8,
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Every decode: its reduction, and the thread it was done on."""
    seen: list[tuple[int, str]] = []
    real = cv2.imdecode

    def imdecode(data: Any, flag: int) -> Any:
        seen.append((FLAGS[flag], current_thread().name.partition("_")[0]))
        return real(data, flag)

    monkeypatch.setattr(cv2, "imdecode", imdecode)
    return seen


def looking(wish: int | None, *, reads: bool = True) -> Analyzer:
    class Looks(Analyzer):
        name = "looks"
        pixels = reads
        side = wish

    return Looks(None)


def item(width: int = 640, height: int = 480) -> dict[str, Any]:
    about = {"seq": 0, "received_at": 1000.0, "at": 0.0, "width": width, "height": height, "captured_at": None}
    return {"session": {}, "frame": about, "results": {}, "length": len(jpeg(width, height))}


def unpack(*analyzers: Analyzer, items: int = 1, ahead: bool = False) -> list[Item]:
    named = {f"a{number}": analyzer for number, analyzer in enumerate(analyzers)}
    asked = [{"item": number, "options": {}} for number in range(items)]
    job = {"items": [item()] * items, "calls": [{"analyzer": name, "items": asked} for name in named]}
    return Decoder().unpack(job, [jpeg(640, 480)] * items, named, ahead=ahead).items


@pytest.mark.parametrize(
    ("wishes", "reduction"),
    [([320, 100], 2), ([100, 80], 4), ([80], 8), ([400, 80], 1), ([None, 80], 1), ([80, None], 1)],
)
def test_a_picture_is_decoded_once_for_the_largest_wish(
    decoded: list[tuple[int, str]], wishes: list[int | None], reduction: int
) -> None:
    (one,) = unpack(*map(looking, wishes))
    for wish in sorted(wishes, key=lambda wish: wish or 10_000):  # the smallest first, which alone would decode less
        shown = one.frame.to_bgr() if wish is None else one.frame.scaled(wish)
        assert max(shown.shape) == (wish or 640)
        assert not shown.flags.writeable
    assert [times for times, _ in decoded] == [reduction]


def test_who_reads_no_pixels_wishes_nothing(decoded: list[tuple[int, str]]) -> None:
    (one,) = unpack(looking(None, reads=False), looking(80))
    one.frame.scaled(80)
    unpack(looking(None, reads=False), ahead=True)
    assert [times for times, _ in decoded] == [8]


def test_a_frame_alone_is_decoded_by_who_asks_for_it(decoded: list[tuple[int, str]]) -> None:
    (one,) = unpack(looking(80))
    assert (one.decoding, decoded) == (None, [])


@pytest.mark.parametrize(("items", "ahead"), [(3, False), (1, True)], ids=["of a batch", "for later"])
def test_frames_are_decoded_beside_the_analyzers(decoded: list[tuple[int, str]], items: int, ahead: bool) -> None:
    found = unpack(looking(80), items=items, ahead=ahead)
    for one in found:
        one.wait()
        assert one.frame.scaled(80) is one.frame.scaled(80)
    assert decoded == [(8, "decode")] * items


def test_a_picture_that_is_there_is_not_decoded_again(decoded: list[tuple[int, str]]) -> None:
    frame = Frame(0, 0.0, 640, 480, jpeg(640, 480))
    frame.scaled(300)
    frame.scaled(150)
    frame.to_bgr()
    frame.scaled(600)
    assert [times for times, _ in decoded] == [2, 1]


def test_pictures_that_travelled_together_are_told_apart() -> None:
    pictures = [b"one", b"", b"three"]
    job = {"items": [{"length": len(picture)} for picture in pictures]}
    assert split(b"".join(pictures), job) == pictures


def test_a_job_that_comes_while_another_runs_is_decoded_meanwhile(
    tmp_path: Path, decoded: list[tuple[int, str]]
) -> None:
    path = tmp_path / "looks.py"
    path.write_text("""
from gateway import as_analyzer

@as_analyzer()
def looks(frame):
    frame.to_bgr()
""")
    host = AnalyzerHost([PluginSpec("looks", path=str(path))], {})
    host.prepare("looks")
    session = {"stream_id": "one", "camera_id": None, "name": ""}
    asked = [{"analyzer": "looks", "items": [{"item": 0, "options": {}}]}]
    job = {"items": [{**item(), "session": session}], "calls": asked}
    first = host.begin(job, [jpeg(640, 480)])
    second = host.begin(job, [jpeg(640, 480)])
    second.items[0].wait()
    before = list(decoded)
    reports = [*host.run(first), *host.run(second)]
    host.close()
    assert [list(report["outcomes"][0]) for report in reports] == [["result"]] * 2
    assert (before, decoded) == ([(1, "decode")], [(1, "decode"), (1, "MainThread")])
