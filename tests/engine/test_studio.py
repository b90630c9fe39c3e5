"""The studio: pictures of faces studied in a process of its own, with real workers and tiny models."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway import FaceEmbedding, FileLibrary
from gateway.engine.confine import VARIABLE, Confinement, rules
from gateway.engine.environment import worker_environment
from gateway.engine.plugins import PluginSpec
from gateway.engine.studio import FaceStudio
from gateway.errors import BadImage, StudioFailed
from gateway.settings import Settings
from tests.analyzers import tiny_faces
from tests.analyzers.tiny_faces import scene


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    faces = {
        "detector": str(tiny_faces.detector(tmp_path / "d.onnx")),
        "model": str(tiny_faces.embedder(tmp_path / "e.onnx")),
    }
    return Settings(home=tmp_path / "home", analyzers={"faces": faces})


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


async def test_a_picture_in_and_its_faces_out(settings: Settings) -> None:
    """One process for all of it: it costs a second to start."""
    async with FaceStudio.open(settings, quiet=True) as studio:
        assert len(studio.model) == 64
        assert studio.parts["detector"] == "YuNet (d.onnx)"
        faces = await studio.study(png(scene(rgbw=(0, 0), rrgg=(2, 1))))
        assert [tuple(face.box) for face in faces] == [(0.0, 0.0, 0.25, 0.5), (0.5, 0.5, 0.75, 1.0)]
        told = [(dict(face.reasons), list(face.vector.shape), face.vector.dtype.name) for face in faces]
        assert told == [({}, [48], "float32")] * 2
        again = await studio.embed([face.crop for face in faces])
        assert all(float(a @ b.vector) > 0.9999 for a, b in zip(again, faces, strict=True))
        assert await studio.confidences([0.45]) == [0.5]
        for wrong in (b"", b"no picture"):
            with pytest.raises(BadImage):
                await studio.study(wrong)
        with pytest.raises(BadImage, match="112x112"):
            await studio.embed([b"no crop"])
        assert await studio.study(png(scene())) == []


async def test_a_picture_too_large_to_decode_is_refused_undecoded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 kB that would be 225 MB."""
    large = cv2.imencode(".png", np.zeros((7500, 10000), np.uint8))[1].tobytes()
    async with FaceStudio.open(settings, quiet=True) as studio:
        with pytest.raises(BadImage):
            await studio.study(large)
        assert len(await studio.study(png(scene(rgbw=(0, 0))))) == 1


async def test_what_lacks_is_said_in_the_analyzers_own_words(tmp_path: Path) -> None:
    with pytest.raises(StudioFailed, match="framegate models pull yunet"):
        async with FaceStudio.open(Settings(home=tmp_path, models_dir=str(tmp_path)), quiet=True):
            pytest.fail("nothing can be studied here")


async def test_a_wrong_option_is_the_answer(settings: Settings) -> None:
    with pytest.raises(StudioFailed, match="no option detektor; did you mean detector"):
        async with FaceStudio.open(settings, {"detektor": "x"}, quiet=True):
            pytest.fail("nothing can be studied so")


async def test_a_studio_that_dies_says_so(settings: Settings) -> None:
    async with FaceStudio.open(settings, quiet=True) as studio:
        studio._child.kill()
        with pytest.raises(StudioFailed, match="the study worker has gone"):
            await studio.study(png(scene()))


def test_plugins_of_others_are_given_no_way_to_the_library(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    FileLibrary(settings.home / "faces").add("Anna", [FaceEmbedding(np.eye(8)[0], "m")])
    stranger = PluginSpec("counter", module="counter", distribution="counter", granted=())
    terms = Confinement.from_text(worker_environment(settings, [stranger])[VARIABLE])
    opened = [path for path in rules(terms) if (settings.home / "faces").is_relative_to(path)]
    assert (terms.files, opened) == (False, [])
