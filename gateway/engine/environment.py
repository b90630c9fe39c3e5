"""What a worker process may know of the gateway's environment: where things are, and nothing that is secret."""

from __future__ import annotations

import os

from gateway.settings import Settings

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
PASSED_PREFIXES = ("LC_", "PYTHON", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "ORT_", "OPENCV_")


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment of every worker process of this gateway."""
    passed = {key: value for key, value in os.environ.items() if key in PASSED_ON or key.startswith(PASSED_PREFIXES)}
    if settings.analysis.threads:
        passed["FRAMEGATE_RUNTIME__THREADS"] = str(settings.analysis.threads)
    return {
        **passed,
        "FRAMEGATE_HOME": str(settings.home),
        "FRAMEGATE_MODELS_DIR": settings.models_dir,
        "FRAMEGATE_YOLO_MODEL_PATH": settings.yolo_model_path,
        "FRAMEGATE_RUNTIME__DEVICE": settings.runtime.device,
        "FRAMEGATE_RUNTIME__GPU": str(settings.runtime.gpu),
        "FRAMEGATE_RUNTIME__ALLOW_PICKLE": "1" if settings.runtime.allow_pickle else "",
        "FRAMEGATE_CHILD_LOG": settings.log.level,
    }
