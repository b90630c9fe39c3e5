"""Devices: which of onnxruntime's execution providers a model runs on, and what to say when the wanted one does not.

The GPU builds list CUDA on machines without it, and their sessions fall back to the CPU without a word. So nothing is
believed but a session that names the provider and has run once.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

DEVICE, GPU = "FRAMEGATE_RUNTIME__DEVICE", "FRAMEGATE_RUNTIME__GPU"
HALF = "ORT_TENSORRT_FP16_ENABLE"  # onnxruntime's own name for it

CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_CUDA_REMEDY = (
    'it takes an NVIDIA driver for CUDA 13 and `pip install "framegate[gpu]"` in a fresh venv, not over [cpu] '
    "(drivers of CUDA 12: onnxruntime-gpu<1.27)"
)
_REMEDIES = {
    "cuda": _CUDA_REMEDY,
    "tensorrt": f"it takes NVIDIA's TensorRT 10 in LD_LIBRARY_PATH; and {_CUDA_REMEDY}",
    "openvino": 'it takes `pip install "framegate[openvino]"` in a fresh venv, not over [cpu]',
}


class DeviceMissing(RuntimeError):
    """The device that the operator named does not work here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator chose."""

    device: str = "auto"
    gpu: str = "0"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Wish:
        """As the gateway hands it to its workers. Raises `DeviceMissing` for a device there is not."""
        wish = cls(environment.get(DEVICE) or "auto", environment.get(GPU) or "0")
        if wish.device not in ("auto", *_PROVIDERS):
            raise DeviceMissing(f"there is no device {wish.device}; there are auto, {', '.join(_PROVIDERS)}")
        return wish


def open_session(path: Path, wish: Wish, options: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """An onnxruntime session for the model that runs where the operator wished.

    Off the CPU it has run once with an input of each of the `shapes`: a GPU chooses its kernels anew for every shape.
    Raises `DeviceMissing`.
    """
    import onnxruntime

    device = wish.device
    if device == "auto":
        device = "cuda" if _PROVIDERS["cuda"] in onnxruntime.get_available_providers() else "cpu"
    if device == "cpu":
        return _session(path, [CPU], options)
    try:
        return _proved(path, device, wish.gpu, options, shapes)
    except DeviceMissing as error:
        if wish.device != "auto":
            raise
        log.warning("%s: %s; runs on the CPU", path.name, str(error))  # the error would keep frames alive
        return _session(path, [CPU], options)


def needs_onnxruntime(wish: Wish) -> None:
    """OpenCV runs models on the CPU only. Raises `DeviceMissing` if something else was wished."""
    if wish.device not in ("auto", "cpu"):
        raise DeviceMissing(f"device {wish.device} needs onnxruntime, which is missing: {_REMEDIES[wish.device]}")


def _proved(path: Path, device: str, gpu: str, options: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    import onnxruntime

    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        built = f"onnxruntime {onnxruntime.__version__} was built without it"
        raise DeviceMissing(f"device {device} does not work here ({built}); {_REMEDIES[device]}")
    onnxruntime.set_default_logger_severity(4)  # it says in eight red lines what we say in one
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            session = _session(path, _chosen(device, gpu), options)
            if provider in session.get_providers():
                _run_once(session, shapes)
                return session
        why = said.getvalue().strip().partition("\n")[0] or "the session fell back to the CPU"
    except (RuntimeError, ValueError) as error:  # onnxruntime's own are these
        why = str(error).strip().partition("\n")[0][:200]
    finally:
        onnxruntime.set_default_logger_severity(2)
    raise DeviceMissing(f"device {device} does not work here ({why}); {_REMEDIES[device]}")


def _session(path: Path, providers: Sequence[Any], options: Any) -> Any:
    import onnxruntime

    if providers[0] is not CPU and hasattr(onnxruntime, "preload_dlls") and providers[0][0] in _NVIDIA:
        onnxruntime.preload_dlls()  # CUDA and cuDNN from their own wheels
    # Its fallback would go on with the CPU, at load and at any later frame.
    return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)


_NVIDIA = (_PROVIDERS["cuda"], _PROVIDERS["tensorrt"])


def _chosen(device: str, gpu: str) -> list[Any]:
    """The provider with its options, and those that take what it cannot run."""
    # The default search tries every algorithm at each new shape, which stops the first frame of a camera for seconds.
    cuda = (_PROVIDERS["cuda"], {"device_id": gpu, "cudnn_conv_algo_search": "HEURISTIC"})
    if device == "cuda":
        return [cuda, CPU]
    if device == "tensorrt":
        return [(_PROVIDERS["tensorrt"], _tensorrt(gpu)), cuda, CPU]
    from analyzers._onnx import threads

    return [(_PROVIDERS["openvino"], {"device_type": "CPU", "num_of_threads": str(threads())}), CPU]


def _tensorrt(gpu: str) -> dict[str, str]:
    """Engines take minutes to build and fit one GPU and one version, so they are kept."""
    home = os.environ.get("FRAMEGATE_HOME")
    cache = Path(home, "cache") if home else Path(gettempdir(), "framegate")
    folder = cache / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "device_id": gpu,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "True" if os.environ.get(HALF) == "1" else "False",
    }


def _run_once(session: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    first = session.get_inputs()[0]
    kind = np.float16 if first.type == "tensor(float16)" else np.float32
    for shape in shapes:
        session.run(None, {first.name: np.zeros(shape, kind)})
