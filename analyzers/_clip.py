"""A CLIP-type model: pictures and texts as vectors of one space, from a folder as Hugging Face's exports have it.

In the folder, or `onnx` in it: an image encoder and a text encoder, ONNX, and beside them `tokenizer.json`, and, if
they differ from OpenAI's, `preprocessor_config.json`. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzers._bicubic import Lens
from analyzers._devices import Wish, open_session
from analyzers._external_data import check_external_data
from analyzers._onnx import session_options
from analyzers._weights import model_folders

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzers._letterbox import Pixels

    Vector = npt.NDArray[np.float32]

VISION = ("vision_model.onnx", "vision_model_quantized.onnx", "visual.onnx")
TEXT = ("text_model.onnx", "text_model_quantized.onnx", "textual.onnx")
TOKENIZER = "tokenizer.json"
LENS = "preprocessor_config.json"

CONTEXT = 77  # tokens of a text at most, in every CLIP
SCALE = 100.0  # of cosines before the softmax; training clips it there, and every published CLIP has got there
SCALE_KEY = "logit_scale"  # of an ONNX file's metadata, for those that have another


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """Where the parts of a model lie."""

    vision: Path
    text: Path
    tokenizer: Path
    lens: Path | None


def find_clip(model: str) -> ClipFiles | None:
    """The model in a folder, by path or by its name below the model folders; the first there is if none is named."""
    if model and (found := _files(Path(model).expanduser())):
        return found
    if model and Path(model).name != model:
        return None
    for top in model_folders():
        for place, folders, _ in os.walk(top):
            folders.sort()
            if (not model or Path(place).name == model) and (found := _files(Path(place))):
                return found
    return None


def _files(folder: Path) -> ClipFiles | None:
    if not (folder / TOKENIZER).is_file():
        return None
    vision, text = (_first(folder, names) for names in (VISION, TEXT))
    if vision is None or text is None:
        return None
    lens = folder / LENS
    return ClipFiles(vision, text, folder / TOKENIZER, lens if lens.is_file() else None)


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    places = [place / name for place in (folder, folder / "onnx") for name in names]
    return next((place for place in places if place.is_file()), None)


def lacks_libraries() -> str | None:
    """Which library is not installed, with the remedy."""
    try:
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError as error:
        return f'{error.name} is not installed: pip install "framegate[cpu,scene]"'
    return None


def read_lens(path: Path | None) -> Lens:
    """What `preprocessor_config.json` says, as far as it says it. Raises `ValueError` for what cannot be."""
    if path is None:
        return Lens()
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        side = said.get("crop_size", said.get("size", 224))
        if isinstance(side, dict):
            side = side.get("height", side.get("shortest_edge", 224))
        mean, std = (tuple(map(float, said.get(name, usual))) for name, usual in _USUAL.items())
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say how pictures are prepared: {error}") from None
    if not (isinstance(side, int) and 32 <= side <= 1024 and len(mean) == len(std) == 3 and min(std) > 0):
        raise ValueError(f"{path}: expected a side of 32-1024 px and 3 colours, got {side}, {mean} and {std}")
    return Lens(side, mean, std)


_USUAL = {"image_mean": Lens().mean, "image_std": Lens().std}


class Clip:
    """An open model. `scale` is what cosines are multiplied by before the softmax."""

    def __init__(self, files: ClipFiles) -> None:
        from tokenizers import Tokenizer

        self.lens = read_lens(files.lens)
        self._vision = _Encoder(files.vision, "image_embeds")
        self._text = _Encoder(files.text, "text_embeds")
        self._tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._text.length or CONTEXT)
        self.runtime = self._vision.runtime
        self.scale = self._vision.scale or self._text.scale or SCALE

    def image(self, picture: Pixels, *, whole: bool = False) -> Vector:
        """The unit vector of a BGR picture."""
        return self._vision.run(self.lens.tensor(picture, whole=whole))

    def text(self, text: str) -> Vector:
        """The unit vector of a text; what is longer than the model reads is cut off."""
        ids = self._tokenizer.encode(text).ids
        length = self._text.length or len(ids)
        # Filled up with the last token, the end of the text: the model looks at the first of these.
        padded = np.array([ids + ids[-1:] * (length - len(ids))], np.int64)
        mask = np.array([[1] * len(ids) + [0] * (length - len(ids))], np.int64)
        return self._text.run(padded, mask)


class _Encoder:
    """One of the two networks. What it gives must be one vector for one input."""

    def __init__(self, path: Path, output: str) -> None:
        check_external_data(path)
        self._session = open_session(path, Wish.of(os.environ), session_options(), ())
        self._path = path
        self._inputs = self._session.get_inputs()
        outputs = {found.name: len(found.shape) for found in self._session.get_outputs()}
        flat = [name for name, rank in outputs.items() if rank == 2]
        if output not in outputs and len(flat) != 1:
            raise ValueError(f"{path.name} gives {', '.join(outputs)}; expected {output}, as CLIP exports have it")
        self._output = output if output in outputs else flat[0]
        self.runtime = f"onnxruntime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    @property
    def length(self) -> int | None:
        """Tokens of a text, where the graph has them fixed."""
        size = self._inputs[0].shape[-1]
        return size if isinstance(size, int) else None

    @property
    def scale(self) -> float | None:
        """What its metadata says of the softmax. Raises `ValueError` for no number above 0."""
        said = self._session.get_modelmeta().custom_metadata_map.get(SCALE_KEY)
        if said is None:
            return None
        if not 0 < float(said) <= 1e4:
            raise ValueError(f"{self._path.name}: {SCALE_KEY} must be above 0, got {said}")
        return float(said)

    def run(self, *tensors: Any) -> Vector:
        """The vector, at unit length. Inputs in the graph's order, of the types it wants."""
        feed = {
            about.name: tensor.astype(_TYPES.get(about.type, tensor.dtype), copy=False)
            for about, tensor in zip(self._inputs, tensors, strict=False)
        }
        vector: Vector = np.asarray(self._session.run([self._output], feed)[0], np.float32).reshape(-1)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise ValueError(f"{self._path.name} gave no vector")
        return vector / np.float32(length)


_TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
