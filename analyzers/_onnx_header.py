"""What an ONNX file says of itself: its input and its metadata, read without any runtime.

OpenCV's network reader tells neither, so the few fields needed are read from the protobuf wire format (onnx.proto3;
encoding: protobuf.dev/programming-guides/encoding). Weights are skipped by their length.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Field numbers of onnx.proto3: ModelProto, GraphProto, ValueInfoProto > TypeProto > Tensor > TensorShapeProto
_GRAPH, _METADATA = 7, 14
_GRAPH_INPUT = 11
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TENSOR, _ELEMENT, _SHAPE, _DIM, _DIM_VALUE = 1, 1, 2, 1, 1

FLOAT, FLOAT16 = 1, 10  # TensorProto.DataType

Field = tuple[int, int | memoryview]


@dataclass(frozen=True, slots=True)
class Header:
    """The first input of a model, its dimensions (None where dynamic) and element type, and the model's metadata."""

    input_name: str
    shape: tuple[int | None, ...]
    element: int
    metadata: dict[str, str]

    @property
    def names(self) -> dict[int, str]:
        """Class names as Ultralytics' exporter writes them, a Python dict literal; empty when absent or odd."""
        try:
            names = ast.literal_eval(self.metadata.get("names", "{}"))
        except (ValueError, SyntaxError):
            return {}
        if isinstance(names, (list, tuple)):
            names = dict(enumerate(names))
        return {int(key): str(value) for key, value in names.items()} if isinstance(names, dict) else {}


def read_header(path: Path) -> Header:
    """Read a model file's header. Raises `ValueError` when the file is no ONNX model."""
    try:
        return _model(memoryview(path.read_bytes()))
    except (IndexError, UnicodeDecodeError, StopIteration, TypeError) as error:
        raise ValueError(f"{path.name} is not an ONNX model") from error


def _model(data: memoryview) -> Header:
    metadata: dict[str, str] = {}
    graph: memoryview | None = None
    for number, value in fields_of(data):
        if number == _GRAPH:
            graph = message(value)
        elif number == _METADATA:
            entry = {key: str(message(text), "utf-8") for key, text in fields_of(message(value))}
            metadata[entry.get(1, "")] = entry.get(2, "")
    if graph is None:
        raise IndexError("no graph")
    first = next(message(value) for number, value in fields_of(graph) if number == _GRAPH_INPUT)
    return _input(first, metadata)


def _input(data: memoryview, metadata: dict[str, str]) -> Header:
    value = dict(fields_of(data))
    tensor = dict(fields_of(message(dict(fields_of(message(value[_VALUE_TYPE])))[_TENSOR])))
    dims = (message(dim) for number, dim in fields_of(message(tensor[_SHAPE])) if number == _DIM)
    shape = tuple(_dimension(dim) for dim in dims)
    return Header(str(message(value[_VALUE_NAME]), "utf-8"), shape, _number(tensor[_ELEMENT]), metadata)


def _dimension(data: memoryview) -> int | None:
    value = dict(fields_of(data)).get(_DIM_VALUE)
    return _number(value) if value else None


def fields_of(data: memoryview) -> Iterator[Field]:
    """The fields of one protobuf message as (number, integer or bytes)."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IndexError(f"wire type {kind}")
        if position + size > len(data):
            raise IndexError("a field beyond the end")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def message(value: int | memoryview) -> memoryview:
    """The bytes of a field that is a message or a text. Raises `TypeError` for a number."""
    if isinstance(value, int):
        raise TypeError("expected a message, got a number")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise TypeError("expected a number, got a message")
    return value
