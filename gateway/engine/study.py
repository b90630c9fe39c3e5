"""Study: the child's side of a studio. It finds the faces of pictures, says what they are good for, and embeds them.

The analyzer that does it is loaded as a worker loads it: the same options, weights and confinement, the same reasons
when something lacks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import PluginSpec
from gateway.errors import BadImage, GatewayError
from gateway.frame import Frame, decode
from gateway.persons import FaceEngine, StudiedFace

if TYPE_CHECKING:
    from gateway.engine.child import Child

ANALYZER = "faces"
MOST_PIXELS = 50_000_000  # of a picture; OpenCV refuses larger ones before it decodes them


def serve(child: Child) -> None:
    """Answer until the parent has gone: first whether it can be done at all."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MOST_PIXELS)
    setup, _ = child.receive()
    engine, state = _engine(setup["plugins"], setup["options"])
    child.send({"t": "hello", **state})
    while engine is not None:
        header, payload = child.receive()
        try:
            child.send(*_ANSWERS[header["t"]](engine, header, payload))
        except GatewayError as error:
            child.send({"t": "refused", "code": error.code, "detail": str(error)})


def _engine(
    plugins: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[FaceEngine | None, dict[str, Any]]:
    host = AnalyzerHost([PluginSpec(**item) for item in plugins], options)
    if ANALYZER not in host.loaded.analyzers:
        failed = "; ".join(trace.strip().rpartition("\n")[2] for trace in host.loaded.failed.values())
        return None, {"reason": f"there is no analyzer {ANALYZER} here" + (f": {failed}" if failed else "")}
    state = host.prepare(ANALYZER)
    engine: object = host.ready.get(ANALYZER)
    if not isinstance(engine, FaceEngine):
        return None, {"reason": state.get("reason") or f"analyzer {ANALYZER} cannot study pictures"}
    return engine, {"model": engine.face_model, "parts": dict(engine.face_engine)}


def _studied(engine: FaceEngine, header: Mapping[str, Any], picture: bytes) -> tuple[dict[str, Any], bytes]:
    """The faces, and their crops one after the other."""
    faces = engine.study(_frame(picture))
    told = {"t": "faces", "faces": [_told(face) for face in faces]}
    return told, b"".join(face.crop for face in faces)


def _told(face: StudiedFace) -> dict[str, Any]:
    return {
        "box": list(face.box),
        "score": face.score,
        "quality": face.quality,
        "reasons": dict(face.reasons),
        "vector": face.vector.tolist(),
        "crop_bytes": len(face.crop),
    }


def _embedded(engine: FaceEngine, header: Mapping[str, Any], crops: bytes) -> tuple[dict[str, Any], bytes]:
    vectors = engine.embed_crops(cut(crops, header["sizes"]))
    return {"t": "vectors", "vectors": [vector.tolist() for vector in vectors]}, b""


def _likely(engine: FaceEngine, header: Mapping[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
    return {"t": "likely", "confidences": [engine.confidence(value) for value in header["similarities"]]}, b""


_ANSWERS = {"study": _studied, "embed": _embedded, "likely": _likely}


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The parts that lie in `data` one after the other."""
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return parts


def _frame(picture: bytes) -> Frame:
    """Any picture that OpenCV reads, upright. Raises `BadImage`."""
    if not picture:
        raise BadImage("the picture is empty")
    pixels = decode(picture)
    height, width = pixels.shape[:2]
    return Frame(0, 0.0, width, height, picture, _decoded={1: pixels})
