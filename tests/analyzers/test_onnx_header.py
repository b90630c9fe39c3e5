"""The header of a model file is read without a runtime, and as the runtime reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers._onnx_header import FLOAT, FLOAT16, Header, read_header
from tests.analyzers import tiny_models

if TYPE_CHECKING:
    from pathlib import Path

METADATA = {"names": tiny_models.NAMES, "stride": "32"}


@pytest.mark.parametrize(
    ("shape", "seen"),
    [(None, (None, 3, None, None)), ([1, 3, 64, 128], (1, 3, 64, 128)), (["n", 3, 64, 64], (None, 3, 64, 64))],
)
def test_a_header_tells_input_and_metadata(
    tmp_path: Path, shape: list[int | str | None] | None, seen: tuple[int | None, ...]
) -> None:
    model = tiny_models.raw(tmp_path / "m.onnx", shape)
    assert read_header(model) == Header("images", seen, FLOAT, METADATA)


def test_half_precision_is_seen(tmp_path: Path) -> None:
    assert read_header(tiny_models.raw(tmp_path / "m.onnx", half=True)).element == FLOAT16


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'person', 1: 'traffic light'}", {0: "person", 1: "traffic light"}),
        ("['a', 'b']", {0: "a", 1: "b"}),
        ("__import__('os').getcwd()", {}),
        ("{0: ", {}),
        ("7", {}),
    ],
)
def test_names_are_literals_and_never_run(text: str, names: dict[int, str]) -> None:
    assert Header("images", (1, 3, 64, 64), FLOAT, {"names": text}).names == names


def test_without_metadata_there_are_no_names(tmp_path: Path) -> None:
    assert read_header(tiny_models.raw(tmp_path / "m.onnx", names=None)).names == {}


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=64))
def test_anything_else_is_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.onnx"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"junk\.onnx is not an ONNX model"):
        read_header(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    whole = tiny_models.raw(tmp_path / "whole.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.onnx is not an ONNX model"):
        read_header(cut)


def test_real_files_read_as_the_runtime_reads_them(models: Path) -> None:
    from onnxruntime import InferenceSession

    for path in sorted(models.rglob("yolo*.onnx")):
        session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        shape = tuple(size if isinstance(size, int) else None for size in first.shape)
        assert read_header(path) == Header(first.name, shape, FLOAT, session.get_modelmeta().custom_metadata_map)
