"""Runs an ONNX model: onnxruntime where it is installed, OpenCV's own engine where not.

Threads never spin while they wait. Spinning pools fight each other and the gateway for the same cores: with a detector
and a second model on two cores 42 against 80 ms a frame, and beside a process that takes a third of a core 51 against
56; alone, spinning would gain 3 %. One pool for all sessions (`set_global_thread_pool_sizes`) is no faster than this,
and breaks every other plugin of the process: onnxruntime then refuses sessions made with ordinary options.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Tensor = npt.NDArray[np.float32]

log = logging.getLogger(__name__)

THREADS = "FRAMEGATE_RUNTIME__THREADS"
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Network(Protocol):
    """A loaded model with one input. `runtime` says what runs it, for logs and status pages."""

    runtime: str

    def run(self, tensor: Tensor) -> Tensor:
        """The model's first output for this input."""


def open_network(path: Path) -> Network:
    """Load a model with the best runtime there is."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return _OpenCvNetwork(path)
    return _OnnxRuntimeNetwork(path)


def threads() -> int:
    """How many cores a model may use: FRAMEGATE_RUNTIME__THREADS, else those this process may run on."""
    wanted = os.environ.get(THREADS, "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota() -> int:
    """Whole cores a container may use (cgroup v2, cpu.max); many when there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return 1 << 16


class _OnnxRuntimeNetwork:
    def __init__(self, path: Path) -> None:
        self._session = _session(path)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self.runtime = f"onnxruntime {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"
        log.info("%s: runs on %s", path.name, self.runtime)

    def run(self, tensor: Tensor) -> Tensor:
        outputs: list[Tensor] = self._session.run([self._output], {self._input: tensor})
        return outputs[0]


class _OpenCvNetwork:
    """The fallback. Same boxes, at two thirds of the speed (47 against 31 ms with yolov8n); no quantised graphs."""

    runtime = "opencv"

    def __init__(self, path: Path) -> None:
        import cv2

        cv2.setNumThreads(threads())
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:  # quantised graphs, mostly
            raise ValueError(
                f"{path.name}: OpenCV cannot run it; onnxruntime might: pip install framegate[cpu]"
            ) from error
        log.info("%s: runs on OpenCV; onnxruntime is not installed and would be faster", path.name)

    def run(self, tensor: Tensor) -> Tensor:
        self._net.setInput(tensor)
        return np.asarray(self._net.forward(), np.float32)


def _session(path: Path) -> Any:
    """An inference session on the GPU if one truly works, else on the CPU."""
    import onnxruntime

    if _CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # CUDA and cuDNN from their own wheels
        session = onnxruntime.InferenceSession(str(path), _options(quiet=True), providers=[_CUDA, _CPU])
        # The GPU build lists CUDA on machines without it and falls back without a word; only the session knows.
        if _CUDA in session.get_providers():
            return session
        log.warning("onnxruntime-gpu is installed, but CUDA does not work here: running on the CPU")
    return onnxruntime.InferenceSession(str(path), _options(), providers=[_CPU])


def _options(*, quiet: bool = False) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4 if quiet else 3
    return options
