"""Tensors that an ONNX file keeps in other files: these must lie in its own folder.

A model that names `../../key.pem` as the file of a weight would have it read as numbers. onnxruntime refuses that,
OpenCV does not (both tried); so every name is looked at before any runtime opens the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from analyzers._onnx_header import fields_of, message

# Field numbers of onnx.proto3: ModelProto, FunctionProto, GraphProto, NodeProto, AttributeProto, SparseTensorProto
_MODEL_GRAPH, _MODEL_FUNCTION, _FUNCTION_NODE = 7, 25, 7
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_ENTRY = 13  # external_data: key and value


def check_external_data(path: Path) -> None:
    """Raises `ValueError` if a model file refers to a file outside its folder, or is no model."""
    folder = path.parent.resolve()
    try:
        names = set(_names(memoryview(path.read_bytes())))
    except (IndexError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path.name} is not an ONNX model") from error
    for name in sorted(names):
        if Path(name).is_absolute() or not (folder / name).resolve().is_relative_to(folder):
            raise ValueError(f"{path.name}: refused, it keeps weights outside its own folder, in {name!r}")


def _names(model: memoryview) -> Iterator[str]:
    for number, value in fields_of(model):
        if number == _MODEL_GRAPH:
            yield from _in_graph(message(value))
        elif number == _MODEL_FUNCTION:
            for part, node in fields_of(message(value)):
                if part == _FUNCTION_NODE:
                    yield from _in_node(message(node))


def _in_graph(graph: memoryview) -> Iterator[str]:
    for number, value in fields_of(graph):
        if number == _GRAPH_TENSOR:
            yield from _in_tensor(message(value))
        elif number == _GRAPH_SPARSE:
            yield from _in_sparse(message(value))
        elif number == _GRAPH_NODE:
            yield from _in_node(message(value))


def _in_node(node: memoryview) -> Iterator[str]:
    for number, attribute in fields_of(node):
        if number == _NODE_ATTRIBUTE:
            for kind, value in fields_of(message(attribute)):
                if kind in _ATTRIBUTE_TENSORS:
                    yield from _in_tensor(message(value))
                elif kind in _ATTRIBUTE_GRAPHS:
                    yield from _in_graph(message(value))
                elif kind in _ATTRIBUTE_SPARSE:
                    yield from _in_sparse(message(value))


def _in_sparse(sparse: memoryview) -> Iterator[str]:
    for number, value in fields_of(sparse):
        if number in _SPARSE_TENSORS:
            yield from _in_tensor(message(value))


def _in_tensor(tensor: memoryview) -> Iterator[str]:
    for number, value in fields_of(tensor):
        if number == _TENSOR_ENTRY:
            entry = {key: str(message(text), "utf-8") for key, text in fields_of(message(value))}
            if entry.get(1) == "location":
                yield entry.get(2, "")
