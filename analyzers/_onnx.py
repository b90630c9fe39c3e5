"""Runs an ONNX model: onnxruntime where it is installed, OpenCV's own engine where not.

Threads never spin while they wait. Spinning pools fight each other and the gateway for the same cores: with a detector
and a second model on two cores 42 against 80 ms a frame, and beside a process that takes a third of a core 51 against
56; alone, spinning would gain 3 %. One pool for all sessions (`set_global_thread_pool_sizes`) is no faster than this,
and breaks every other plugin of the process: onnxruntime then refuses sessions made with ordinary options.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from analyzers._devices import CPU, Wish, needs_onnxruntime, open_session
from analyzers._external_data import check_external_data

if TYPE_CHECKING:
    import numpy.typing as npt

    Tensor = npt.NDArray[np.float32]

log = logging.getLogger(__name__)

THREADS = "FRAMEGATE_RUNTIME__THREADS"

# Two give 4 to 8 % more frames on a CPU, more of them nothing further; what a GPU likes is a guess, none was measured.
BATCHES = {CPU: 1, "CUDAExecutionProvider": 16, "TensorrtExecutionProvider": 16}

Shapes = Sequence[tuple[int, ...]]


class Network(Protocol):
    """A loaded model with one input, safe to run from several threads.

    `runtime` says what runs it, for logs and status pages; `batch` how many inputs at once pay on it.
    """

    runtime: str
    batch: int

    def run(self, tensor: Tensor) -> Tensor:
        """The model's first output for this input."""

    def run_all(self, tensor: Tensor) -> list[Tensor]:
        """Every output, in an order of the runtime's own."""


class Networks:
    """The models loaded in this process, each once for all who use it, and forgotten with the last of them."""

    def __init__(self) -> None:
        self._open: WeakValueDictionary[tuple[object, ...], Network] = WeakValueDictionary()
        self._opening = Lock()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, path: Path, shapes: Shapes = ()) -> Network:
        """Load a model with the best runtime there is, or with the one the operator named.

        `shapes` are those it will be run with first. Raises `ValueError` for a file that is refused or cannot be run,
        and `DeviceMissing`.
        """
        real, wish = path.resolve(), Wish.of(os.environ)
        state = real.stat()
        key = (real, state.st_mtime_ns, state.st_size, wish, threads(), _has_onnxruntime())
        with self._opening:
            if (network := self._open.get(key)) is None:
                self._open[key] = network = _load(path, wish, shapes)
            return network


open_network = Networks().open


def _load(path: Path, wish: Wish, shapes: Shapes) -> Network:
    check_external_data(path)
    if _has_onnxruntime():
        return _OnnxRuntimeNetwork(path, wish, shapes)
    needs_onnxruntime(wish)
    return _OpenCvNetwork(path)


def _has_onnxruntime() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True


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
    def __init__(self, path: Path, wish: Wish, shapes: Shapes) -> None:
        self._session = open_session(path, wish, session_options(), shapes)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        provider = self._session.get_providers()[0]
        self.runtime = f"onnxruntime {provider.removesuffix('ExecutionProvider')}"
        self.batch = BATCHES.get(provider, 1)
        log.info("%s: runs on %s", path.name, self.runtime)

    def run(self, tensor: Tensor) -> Tensor:
        outputs: list[Tensor] = self._session.run([self._output], {self._input: tensor})
        return outputs[0]

    def run_all(self, tensor: Tensor) -> list[Tensor]:
        outputs: list[Tensor] = self._session.run(None, {self._input: tensor})
        return outputs


class _OpenCvNetwork:
    """The fallback. Same boxes, at two thirds of the speed (47 against 31 ms with yolov8n); no quantised graphs."""

    runtime = "opencv"
    batch = 1

    def __init__(self, path: Path) -> None:
        import cv2

        cv2.setNumThreads(threads())
        self._running = Lock()  # input and output are two calls
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:  # quantised graphs, mostly
            raise ValueError(
                f"{path.name}: OpenCV cannot run it; onnxruntime might: pip install framegate[cpu]"
            ) from error
        log.info("%s: runs on OpenCV; onnxruntime is not installed and would be faster", path.name)

    def run(self, tensor: Tensor) -> Tensor:
        with self._running:
            self._net.setInput(tensor)
            return np.asarray(self._net.forward(), np.float32)

    def run_all(self, tensor: Tensor) -> list[Tensor]:
        with self._running:
            self._net.setInput(tensor)
            outputs = self._net.forward(self._net.getUnconnectedOutLayersNames())
            return [np.asarray(output, np.float32) for output in outputs]


def session_options() -> Any:
    """For onnxruntime: as many threads as are meant, that do not spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
