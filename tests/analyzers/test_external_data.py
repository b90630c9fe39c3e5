"""A model cannot have files outside its folder read as its weights, whatever the runtime thinks of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from analyzers._onnx import open_network

if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with weights in it, and a file beside the folder."""
    for place in (tmp_path / "model" / "weights.bin", tmp_path / "secret.bin"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(np.full(4, 7, np.float32).tobytes())
    return tmp_path / "model"


def tensor(location: str) -> Any:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        entry = made.external_data.add()
        entry.key, entry.value = key, value
    return made


def save(folder: Path, location: str, *, constant: bool = False) -> Path:
    """y = x + w, where w is an initializer or the attribute of a Constant."""
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor(location)))
    graph = helper.make_graph(
        nodes,
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [] if constant else [tensor(location)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_weights_in_the_models_own_folder_are_read(folder: Path) -> None:
    assert open_network(save(folder, "weights.bin")).run(np.zeros(4, np.float32)).tolist() == [7] * 4


@pytest.mark.parametrize("runtime", ["onnxruntime", "opencv"])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("location", ["../secret.bin", "{root}/secret.bin", "link.bin", "model/../../secret.bin"])
def test_weights_outside_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, constant: bool, location: str
) -> None:
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    model = save(folder, location.format(root=folder.parent), constant=constant)
    if runtime == "opencv":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"^m\.onnx: refused, it keeps weights outside its own folder, in '"):
        open_network(model)


def test_tensors_of_inner_graphs_are_looked_at(folder: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])],
        [tensor("../secret.bin")],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "outer",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="outside its own folder"):
        open_network(folder / "m.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff\xff\xff\xff\xff\xff")
    with pytest.raises(ValueError, match=r"^m\.onnx is not an ONNX model$"):
        open_network(tmp_path / "m.onnx")


def test_the_library_agrees_that_these_are_external(folder: Path) -> None:
    model = onnx.load(str(save(folder, "weights.bin")), load_external_data=False)
    assert [onnx.external_data_helper.uses_external_data(one) for one in model.graph.initializer] == [True]
