"""What a worker process may know of the gateway's environment: where things are, and nothing that is secret."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.plugins import BUILT_IN, PluginSpec, approve, discover, optional_plugins
from gateway.settings import Settings

log = logging.getLogger(__name__)

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
PASSED_PREFIXES = ("LC_", "PYTHON", "CUDA_", "NVIDIA_", "OMP_", "OPENBLAS_", "ORT_", "OPENCV_")


MODELS = "models"  # in FRAMEGATE_HOME
CAPTION = "caption"  # the one built-in that asks somebody outside
SCRATCH = "plugin-data"  # in FRAMEGATE_HOME, a folder for each stranger


def worker_environment(settings: Settings, specs: Sequence[PluginSpec] = ()) -> dict[str, str]:
    """The environment of the worker process of these plugins; of the picture worker if there are none."""
    passed = {key: value for key, value in os.environ.items() if key in PASSED_ON or key.startswith(PASSED_PREFIXES)}
    passed |= _keys(settings, specs)
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
    return approved(settings, discover(settings.plugins, settings.plugins_off, folder, on=settings.plugins_on))


def switched_off(settings: Settings) -> set[str]:
    """The optional plugins that are installed and do not run here. Logs what `plugins_on` names in vain."""
    there = {spec.name for spec in optional_plugins()}
    for name in sorted(set(settings.plugins_on) - there):
        known = ", ".join(sorted(there)) or "none"
        log.warning("plugins_on: there is no optional plugin %s; there are %s", name, known)
    return there - (set(settings.plugins_on) - set(settings.plugins_off))


def approved(settings: Settings, specs: Sequence[PluginSpec]) -> list[PluginSpec]:
    """The plugins with what the operator granted each: everything, if nothing is taken from workers anyway."""
    return approve(specs, settings.plugin_permissions) if settings.analysis.confine else list(specs)


def _keys(settings: Settings, specs: Sequence[PluginSpec]) -> dict[str, str]:
    """The keys of the endpoint that `caption` asks, for its worker alone."""
    if not any(spec.name == CAPTION and spec.distribution == BUILT_IN for spec in specs):
        return {}
    keys = {"FRAMEGATE_CAPTION_API_KEY": settings.caption_api_key, "FRAMEGATE_GROQ_API_KEY": settings.groq_api_key}
    return {name: key.get_secret_value() for name, key in keys.items() if key is not None}


def _confinement(settings: Settings, specs: Sequence[PluginSpec]) -> Confinement:
    """Ours keep the files, because weights may lie anywhere; a stranger has what was granted to it.

    The network is granted to the shared worker of the built-ins as a whole, to an optional one by its name.
    """
    stranger = next((spec for spec in specs if spec.distribution != BUILT_IN), None)
    first = specs[0] if specs else PluginSpec(BUILT_IN, distribution=BUILT_IN)
    meant = approve([stranger or first], settings.plugin_permissions)[0]
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
