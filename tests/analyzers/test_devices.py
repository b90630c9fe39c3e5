"""The device is the one the operator named or an error with its remedy; models are loaded once a process."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import onnxruntime
import pytest

from analyzers._detector import Detector
from analyzers._devices import DeviceMissing, Wish
from analyzers._onnx import Network, open_network
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from tests.analyzers import tiny_models


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.raw(tmp_path / "m.onnx")


def named(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setenv("FRAMEGATE_RUNTIME__DEVICE", device)


def test_a_wish_is_read_from_the_environment() -> None:
    wish = Wish.of({"FRAMEGATE_RUNTIME__DEVICE": "cuda", "FRAMEGATE_RUNTIME__GPU": "1"})
    assert (wish, Wish.of({})) == (Wish("cuda", "1"), Wish("auto", "0"))


def test_a_device_there_is_not_is_refused() -> None:
    with pytest.raises(DeviceMissing, match=r"no device tpu; there are auto, cpu, cuda, tensorrt, openvino"):
        Wish.of({"FRAMEGATE_RUNTIME__DEVICE": "tpu"})


@pytest.mark.parametrize("device", ["", "auto", "cpu"])
def test_without_a_gpu_the_cpu_runs_it(model: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    named(monkeypatch, device)
    if "CUDAExecutionProvider" in onnxruntime.InferenceSession(str(model)).get_providers():
        pytest.skip("there is a GPU")
    analyzer = ObjectsAnalyzer(ObjectsOptions(model=str(model), side=128))
    assert (analyzer.device, analyzer.batch, analyzer.side) == ("onnxruntime CPU", 1, 128)


@pytest.mark.parametrize(
    ("device", "remedy"),
    [
        ("cuda", r"framegate\[gpu\].*not over \[cpu\] \(drivers of CUDA 12: onnxruntime-gpu<1\.27\)$"),
        ("tensorrt", r"TensorRT 10 .* and it takes an NVIDIA driver for CUDA 13"),
        ("openvino", r"framegate\[openvino\]"),
    ],
)
def test_a_named_device_that_does_not_work_is_an_error_and_not_the_cpu(
    model: Path, monkeypatch: pytest.MonkeyPatch, device: str, remedy: str
) -> None:
    named(monkeypatch, device)
    if device in {provider.removesuffix("ExecutionProvider").lower() for provider in _available()}:
        pytest.skip(f"this onnxruntime is built with {device}")
    with pytest.raises(DeviceMissing, match=rf"^device {device} does not work here \(.*\); it takes .*{remedy}"):
        open_network(model)


def _available() -> list[str]:
    return list(onnxruntime.get_available_providers())


def test_opencv_does_not_stand_in_for_a_named_device(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "cuda")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceMissing, match=r"^device cuda needs onnxruntime, which is missing: "):
        open_network(model)


def test_openvino_sees_the_same(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "OpenVINOExecutionProvider" not in _available():
        pytest.skip("needs an environment with framegate[openvino]")
    picture = tiny_models.picture(640, 480, cell=160).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    seen = []
    for device in ("cpu", "openvino"):
        named(monkeypatch, device)
        network = open_network(models / "coco" / "yolov8n.onnx", [(1, 3, 480, 640)])
        seen.append(network.run(picture))
    assert network.runtime == "onnxruntime OpenVINO"
    assert abs(seen[0] - seen[1]).max() < 0.5  # px; of scores 0.001


def test_one_file_is_loaded_once_however_it_is_named(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "folder" / "other.onnx"
    link.parent.mkdir()
    link.symlink_to(model)
    assert open_network(model) is open_network(link)


def test_threads_that_ask_at_once_get_one_model(model: Path) -> None:
    got: list[Network] = []
    threads = [Thread(target=lambda: got.append(open_network(model))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [network is got[0] for network in got] == [True] * 8


def test_two_detectors_of_a_file_share_its_model(model: Path) -> None:
    first, second = Detector(model, side=128), Detector(model, side=256)
    assert first._network is second._network


def test_a_file_that_has_changed_is_loaded_anew(model: Path) -> None:
    before = open_network(model)
    os.utime(model, ns=(1, 1))
    assert open_network(model) is not before


def test_another_device_is_another_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_network(model)
    named(monkeypatch, "cpu")
    assert open_network(model) is not before


def test_a_model_goes_with_the_last_that_uses_it(model: Path) -> None:
    networks = open_network.__self__  # type: ignore[attr-defined]
    kept = len(networks)
    network = open_network(model)
    assert len(networks) == kept + 1
    del network
    gc.collect()
    assert len(networks) == kept
