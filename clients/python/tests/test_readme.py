"""The README's examples run as they stand, with the address, the stream and the camera of the test."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from framegate_client import Client

from tests.pictures import COLOURS, picture
from tests.server import Server, eventually

README = Path(__file__).parents[1] / "README.md"
MOST_LINES = 10
HERE = "http://localhost:8000"


@pytest.fixture(scope="module")
def examples() -> dict[str, str]:
    """By the heading they stand under."""
    found = re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", README.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five pictures in place of a camera."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for colour in ("red", "green", "blue", "yellow", "white"):
        writer.write(np.full((120, 160, 3), COLOURS[colour], np.uint8))
    writer.release()
    return path


def _run(example: str, **instead: str) -> None:
    for said, meant in instead.items():
        assert said in example
        example = example.replace(said, meant)
    exec(compile(example, str(README), "exec"), {"__name__": "example"})


def test_the_first_two_examples_are_short(examples: dict[str, str]) -> None:
    lines = {name: len(examples[name].strip().splitlines()) for name in ("Publish", "Watch")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_the_example_publishes_and_the_other_one_watches(
    server: Server,
    blocking: Client,
    examples: dict[str, str],
    clip: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    stream = blocking.request(analyzers=["motion"])
    watching = threading.Thread(
        target=_run, args=(_at(server, examples["Watch"]),), kwargs={'"door"': repr(stream.stream_id)}
    )
    watching.start()
    eventually(lambda: blocking.status(stream).viewers == 1)
    _run(_at(server, examples["Publish"]), **{"OpenCV(0)": f"OpenCV({str(clip)!r})"})
    assert re.search(r"watch it at http://127\S+/viewer\?stream_id=\w+\n5 sent, {} dropped", _said(capsys))
    assert blocking.analyze(stream, picture("red")).seq == 0
    blocking.delete(stream)
    watching.join()
    assert re.search(r"^0 \[.*\]\nit ended: deleted$", _said(capsys), re.MULTILINE)


def test_the_example_with_asyncio_sees_its_own_picture(
    server: Server,
    examples: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(picture("red"))
    _run(_at(server, examples["With asyncio"]))
    assert _said(capsys) == f"(0, {len(picture('red'))})\n"


def _at(server: Server, example: str) -> str:
    assert HERE in example
    return example.replace(HERE, server.url)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out
