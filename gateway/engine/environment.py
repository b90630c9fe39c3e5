"""What a worker process may know of the gateway's environment: where things are, and nothing that is secret."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.plugins import BUILT_IN, PluginSpec, approve, discover
from gateway.settings import Settings

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
PASSED_PREFIXES = ("LC_", "PYTHON", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "ORT_", "OPENCV_")


MODELS = "models"  # in FRAMEGATE_HOME
SCRATCH = "plugin-data"  # in FRAMEGATE_HOME, a folder for each stranger


def worker_environment(settings: Settings, specs: Sequence[PluginSpec] = ()) -> dict[str, str]:
    """The environment of the worker process of these plugins; of the picture worker if there are none."""
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
        VARIABLE: _confinement(settings, specs).to_text() if settings.analysis.confine else "",
    }


def worker_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """The operator's options by analyzer, without those that are the host's alone."""
    return {
        name: {key: value for key, value in options.items() if key not in ("fps", "motion_gate")}
        for name, options in settings.analyzers.items()
    }


def installed(settings: Settings) -> list[PluginSpec]:
    """Every plugin that a gateway under these settings finds, with what the operator granted it."""
    folder = settings.plugins_dir or settings.home / "plugins"
    return approved(settings, discover(settings.plugins, settings.plugins_off, folder))


def approved(settings: Settings, specs: Sequence[PluginSpec]) -> list[PluginSpec]:
    """The plugins with what the operator granted each: everything, if nothing is taken from workers anyway."""
    return approve(specs, settings.plugin_permissions) if settings.analysis.confine else list(specs)


def _confinement(settings: Settings, specs: Sequence[PluginSpec]) -> Confinement:
    """Ours keep the files, because weights may lie anywhere; a stranger has what was granted to it."""
    stranger = next((spec for spec in specs if spec.distribution != BUILT_IN), None)
    meant = approve([stranger or PluginSpec(BUILT_IN, distribution=BUILT_IN)], settings.plugin_permissions)[0]
    home = settings.home.expanduser().absolute()
    return Confinement(
        network="network" in meant.granted,
        files=stranger is None or "files" in meant.granted,
        read=tuple(_readable(settings, home, specs)),
        home=str(home),
        scratch=str(home / SCRATCH / meant.owner) if stranger else "",
    )


def _readable(settings: Settings, home: Path, specs: Sequence[PluginSpec]) -> Iterator[str]:
    """Weights; and of a plugin file itself and the folder beside it that is named like it."""
    places = [part for part in settings.models_dir.split(os.pathsep) if part]
    for place in (*places, settings.yolo_model_path, str(home / MODELS)):
        if place:
            yield str(Path(place).expanduser().absolute())
    for path in [Path(spec.path) for spec in specs if spec.path]:
        yield from (str(path), str(path.with_suffix("")))
