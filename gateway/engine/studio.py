"""Studio: has pictures of faces studied by a process of its own, for enrolment and for telling who is on a picture.

The gateway decodes no picture, and a command loads no plugin: both ask a child, confined like the workers, in which the
analyzer `faces` runs with the operator's options. One question is under way at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway.engine.environment import installed, worker_environment, worker_options
from gateway.engine.plugins import BUILT_IN
from gateway.engine.process import ChildProcess, WorkerDied
from gateway.engine.study import ANALYZER, cut
from gateway.errors import BadImage, StudioFailed
from gateway.persons import StudiedFace
from gateway.results import Box

if TYPE_CHECKING:
    from gateway.settings import Settings

START_S, ANSWER_S = 120.0, 60.0  # to import and load the models; for one picture


class FaceStudio:
    """An open studio. `model` is the hash that its vectors are kept under, `parts` what it is made of, for people."""

    def __init__(self, child: ChildProcess, model: str, parts: Mapping[str, str]) -> None:
        self._child = child
        self._asking = asyncio.Lock()
        self.model = model
        self.parts = parts

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, options: Mapping[str, Any] | None = None, *, quiet: bool = False
    ) -> AsyncIterator[FaceStudio]:
        """A studio with the operator's options of the analyzer `faces`, and these on top. `quiet`: it logs nothing.

        Raises `StudioFailed` where that analyzer cannot run, with its own reason.
        """
        specs = [spec for spec in installed(settings) if (spec.distribution, spec.name) == (BUILT_IN, ANALYZER)]
        chosen = worker_options(settings)
        chosen[ANALYZER] = {**chosen.get(ANALYZER, {}), **(options or {})}
        loud = {"FRAMEGATE_CHILD_LOG": "CRITICAL"} if quiet else {}
        child = ChildProcess(
            "study",
            environment={**worker_environment(settings, specs), **loud},
            nice=settings.analysis.nice,
            lines_per_s=settings.log.worker_lines_per_s,
        )
        try:
            await child.start()
            child.send({"plugins": [asdict(spec) for spec in specs], "options": chosen})
            hello = await _received(child, START_S)
            if hello.get("reason") is not None:
                raise StudioFailed(str(hello["reason"]))
            yield cls(child, hello["model"], hello["parts"])
        except WorkerDied as error:
            raise StudioFailed(str(error)) from None
        finally:
            await child.close()

    async def study(self, picture: bytes) -> list[StudiedFace]:
        """The faces of a picture in any format OpenCV reads, largest first. Raises `BadImage` and `StudioFailed`."""
        answer, crops = await self._ask({"t": "study"}, picture)
        parts = cut(crops, [item["crop_bytes"] for item in answer["faces"]])
        return [_face(item, crop) for item, crop in zip(answer["faces"], parts, strict=True)]

    async def embed(self, crops: Sequence[bytes]) -> list[Any]:
        """Vectors (d,) of aligned faces that were kept (PNG). Raises `BadImage` and `StudioFailed`."""
        answer, _ = await self._ask({"t": "embed", "sizes": [len(crop) for crop in crops]}, b"".join(crops))
        return _vectors(answer["vectors"])

    async def confidences(self, similarities: Sequence[float]) -> list[float]:
        """Cosines of this model as 0-1, 0.5 at its own threshold, as the option `threshold` means it."""
        answer, _ = await self._ask({"t": "likely", "similarities": list(similarities)})
        return [float(value) for value in answer["confidences"]]

    async def _ask(self, question: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        async with self._asking:
            try:
                self._child.send(dict(question), payload)
                async with asyncio.timeout(ANSWER_S):
                    answer, rest = await self._child.receive()
            except TimeoutError:
                self._child.kill()
                raise StudioFailed(f"a picture was not studied within {ANSWER_S:.0f} s") from None
            except WorkerDied as error:
                raise StudioFailed(str(error)) from None
        if answer.get("t") == "refused":
            raise BadImage(str(answer["detail"]))
        return answer, rest


async def _received(child: ChildProcess, patience_s: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(patience_s):
            hello, _ = await child.receive()
    except TimeoutError:
        raise StudioFailed(f"the models of analyzer {ANALYZER} were not loaded within {patience_s:.0f} s") from None
    return hello


def _face(item: Mapping[str, Any], crop: bytes) -> StudiedFace:
    (vector,) = _vectors([item["vector"]])
    return StudiedFace(Box(*item["box"]), item["score"], item["quality"], item["reasons"], vector, crop)


def _vectors(rows: Sequence[Sequence[float]]) -> list[Any]:
    import numpy as np

    return [np.array(row, np.float32) for row in rows]
