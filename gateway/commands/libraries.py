"""The native libraries below us: twins that overwrite each other, and whether what is installed works.

opencv-python and its three relatives all unpack into `cv2/`, and all ONNX Runtimes into `onnxruntime/`. With two of
them the last one installed wins without a word, and uninstalling either breaks the other (research/ecosystem.md 4).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distributions, requires
from typing import Any

from gateway.commands.finding import Finding

OPENCVS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
CODECS = ("h264", "hevc", "vp8", "vp9", "mjpeg")

# y = x + x, opset 17: the smallest graph that makes a session choose its provider.
_MODEL = "CAgSADo1Cg4KAXgKAXgSAXkiA0FkZBIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
_CUDA = f"""
import base64, json, onnxruntime as ort
if hasattr(ort, "preload_dlls"): ort.preload_dlls()
ort.set_default_logger_severity(4)
wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
session = ort.InferenceSession(base64.b64decode("{_MODEL}"), providers=wanted)
print(json.dumps({{"providers": session.get_providers(), "version": ort.__version__}}))
"""
_AV = f"""
import json, av
from av.codec import codecs_available
missing = [name for name in {CODECS!r} if name not in codecs_available]
print(json.dumps({{"version": av.__version__, "missing": missing}}))
"""


def check_opencv() -> Finding:
    installed = installed_of(OPENCVS)
    if len(installed) > 1:
        return Finding("opencv", "broken", f"{_listed(installed)} share one folder", repair(installed, OPENCVS[0]))
    answer = ask("import json, cv2; print(json.dumps({'version': cv2.__version__}))")
    if "error" in answer:
        return Finding("opencv", "broken", f"import cv2 fails: {answer['error']}", repair(installed, OPENCVS[0]))
    return Finding("opencv", "ok", f"{_listed(installed)}, cv2 {answer['version']}")


def check_runtime() -> Finding:
    installed = installed_of(RUNTIMES)
    if len(installed) > 1:
        kept = "onnxruntime-gpu" if nvidia_gpus() else "onnxruntime"
        return Finding("onnxruntime", "broken", f"{_listed(installed)} share one folder", repair(installed, kept))
    if not installed:
        return Finding(
            "onnxruntime",
            "note",
            "not installed: OpenCV runs the models, at half the speed",
            pip("install", "onnxruntime"),
        )
    answer = ask("import json, onnxruntime as ort; print(json.dumps({'version': ort.__version__}))")
    if "error" in answer:
        return Finding(
            "onnxruntime", "broken", f"import fails: {answer['error']}", repair(installed, next(iter(installed)))
        )
    return Finding("onnxruntime", "ok", _listed(installed))


def check_gpu() -> Finding:
    """Whether CUDA is really used: the list of available providers proves nothing, a session does."""
    gpus = nvidia_gpus()
    names = ", ".join(gpus) or "no NVIDIA GPU"
    if not installed_of(("onnxruntime-gpu",)):
        remedy = 'pip install "framegate[gpu]" into a fresh venv, not over [cpu]' if gpus else ""
        return Finding("gpu", "note", f"{names}; models run on the CPU", remedy)
    answer = ask(_CUDA)
    if "CUDAExecutionProvider" in answer.get("providers", ()):
        return Finding("gpu", "ok", f"{names}; CUDA works in onnxruntime-gpu {answer['version']}")
    why = answer.get("error", "the session fell back to the CPU")
    remedy = pip("install", "onnxruntime-gpu[cuda,cudnn]") + ", and a driver for CUDA 13"
    return Finding("gpu", "broken" if gpus else "note", f"{names}; CUDA does not work: {why}", remedy if gpus else "")


def check_av() -> Finding:
    answer = ask(_AV)
    if "error" in answer:
        return Finding(
            "ffmpeg",
            "broken",
            f"import av fails: {answer['error']}",
            pip("install", "--force-reinstall", "--no-deps", "av"),
        )
    if answer["missing"]:
        return Finding("ffmpeg", "note", f"PyAV {answer['version']} cannot read {', '.join(answer['missing'])}")
    return Finding("ffmpeg", "ok", f"PyAV {answer['version']} reads {', '.join(CODECS)}")


def installed_of(names: Iterable[str], found: Iterable[tuple[str, str]] | None = None) -> dict[str, str]:
    """Which of `names` are installed, with their versions."""
    if found is None:
        found = ((distribution.name, distribution.version) for distribution in distributions())
    wanted = set(names)
    normal = ((re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found)  # PEP 503
    return {name: version for name, version in normal if name in wanted}


def repair(installed: Iterable[str], kept: str) -> str:
    """The command that leaves exactly `kept`: all twins out first, or their shared files go with the last one."""
    again = pip("install", "--force-reinstall", "--no-deps", _requirement(kept))
    return f"{pip('uninstall', '-y', *installed)} && {again}"


def pip(*arguments: str) -> str:
    quoted = (f'"{word}"' if re.search(r"[<>\[=]", word) else word for word in arguments)
    return f"{sys.executable} -m pip {' '.join(quoted)}"


def _requirement(name: str) -> str:
    """`name` with the range that our own distribution asks for."""
    try:
        wanted = requires("framegate") or []
    except PackageNotFoundError:
        wanted = []
    for line in wanted:
        requirement = line.partition(";")[0].strip()
        if re.match(rf"{re.escape(name)}(?![\w-])", requirement):
            return requirement
    return name


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver shows; none if there is no driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()] if listed.returncode == 0 else []


def ask(code: str) -> dict[str, Any]:
    """Run `code` in a Python of its own; the JSON of its last line, or `{"error": one line}`."""
    try:
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return {"error": "no answer within 120 s"}
    if child.returncode != 0:
        last = child.stderr.strip().rpartition("\n")[2]
        return {"error": last or f"exit code {child.returncode}"}
    answer: dict[str, Any] = json.loads(child.stdout.strip().rpartition("\n")[2])
    return answer


def _listed(installed: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in installed.items()) or "not installed"
