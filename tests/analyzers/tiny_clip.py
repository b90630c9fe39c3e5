"""A CLIP small enough to be made on the spot: a picture's vector is its mean colour, a text's those its words name.

Files, inputs, outputs and tokenizer are as Hugging Face's exports have them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzers._bicubic import Lens

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}  # RGB
WORDS = ["<|startoftext|>", "<|endoftext|>", "<unk>", "a", "photo", "of", *COLOURS]


def make(folder: Path, *, scale: str | None = "20", length: int | str = "n", lens: Any = None) -> Path:
    """A model folder. `length`: tokens of a text, where the graph has them fixed; `lens`: preprocessor_config.json."""
    (folder / "onnx").mkdir(parents=True)
    _save(folder / "onnx" / "vision_model.onnx", _vision(), scale)
    _save(folder / "onnx" / "text_model.onnx", _text(length), None)
    _tokenizer(folder / "tokenizer.json")
    if lens is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(lens))
    return folder


def _vision() -> onnx.GraphProto:
    """(b, 3, s, s) -> image_embeds (b, 3); last_hidden_state stands before it, as in real exports."""
    nodes = [
        helper.make_node("Identity", ["pixel_values"], ["last_hidden_state"]),
        helper.make_node("ReduceMean", ["pixel_values"], ["image_embeds"], axes=[2, 3], keepdims=0),
    ]
    picture = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b", 3, "s", "s"])
    outputs = [
        helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["b", 3, "s", "s"]),
        helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["b", 3]),
    ]
    return helper.make_graph(nodes, "vision", [picture], outputs)


def _text(length: int | str) -> onnx.GraphProto:
    """input_ids, attention_mask (b, n) -> text_embeds (b, 3): the sum over the words that count."""
    lens = Lens()
    table = np.full((len(WORDS), 3), 1e-6, np.float32)
    for word, colour in COLOURS.items():
        table[WORDS.index(word)] = (np.array(colour) - lens.mean) / np.array(lens.std)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "second"], ["text_embeds"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["b", length]) for n in ("input_ids", "attention_mask")
    ]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
    ]
    output = helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["b", 3])
    return helper.make_graph(nodes, "text", inputs, [output], constants)


def _save(path: Path, graph: onnx.GraphProto, scale: str | None) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if scale is not None:
        helper.set_model_props(model, {"logit_scale": scale})
    onnx.save(model, str(path))


def _tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    start, end = WORDS[:2]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 0), (end, 1)]
    )
    made.save(str(path))
