"""Taking over a plugin's new code while its worker runs: authors save, and the next frame goes through what they wrote.

The model of an analyzer stays loaded if nothing that has a part in loading it changed (`source`); then its object
becomes one of the new class. Otherwise it is closed, and the gateway has it prepared as for the first time: nothing
here takes long, because it runs between two frames on the thread of the jobs. Code that is broken changes nothing.
"""

from __future__ import annotations

import gc
import importlib
import logging
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from gateway.analyzer import Analyzer
from gateway.engine.host import AnalyzerHost, Report
from gateway.engine.plugins import Loaded, PluginSpec, classes_of, execute
from gateway.engine.source import Source

log = logging.getLogger(__name__)

FIXED = ("needs", "wants", "pixels", "permissions")  # what streams and the worker's confinement were arranged by


class Broken(Exception):
    """The new code cannot be taken; `FILE:LINE: what is wrong`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A plugin and the file it is made of."""

    spec: PluginSpec
    path: str


@dataclass(frozen=True, slots=True)
class Code:
    """A plugin's text and the analyzers it makes."""

    source: Source
    module: ModuleType
    loaded: Loaded
    before: Mapping[str, Any]  # what the module held that it takes the place of


def reload(host: AnalyzerHost, name: str, text: bytes | None = None) -> Report:
    """Take over the code of the plugin that holds this analyzer, and so of its other analyzers too.

    `text` is what its file holds now; None: read it here, which a confined worker may not be able to.

    The report's `state`: `ready` (the model was kept), `idle` (to be prepared anew), `refused` (the code is broken, the
    old one runs on), `restart` (only a new worker can do that). The same text again means a new model.
    """
    if name not in host.loaded.analyzers:
        return _report(name, "restart", f"{name} has not been loaded")
    _, spec = host.loaded.analyzers[name]
    module = importlib.import_module(spec.module) if spec.module else None
    path = spec.path or (module.__file__ if module else None) or ""
    try:
        return _take(host, name, Place(spec, path), text)
    except Broken as error:
        log.warning("plugin %s: not reloaded: %s", spec.name, error)
        cause = error.__cause__
        trace = "".join(traceback.format_exception(cause, limit=-6)) if cause else None
        model = "kept" if name in host.ready else "none"
        return {**_report(name, "refused", str(error)), "traceback": trace, "model": model}


def _take(host: AnalyzerHost, name: str, place: Place, text: bytes | None) -> Report:
    spec, path = place.spec, place.path
    text = _read(path) if text is None else text
    before = host.loaded.sources[spec.name]
    names = [other for other, (_, owner) in host.loaded.analyzers.items() if owner == spec]
    if text == before:
        with host.preparing:
            return _together(name, {other: _close(host, other) for other in names})
    code = _new_code(spec, path, text)
    if reason := _beyond(host.loaded, code.loaded, names):
        return _report(name, "restart", reason)
    old = Source(before, path)
    with host.preparing:  # a model that is just being loaded is finished first
        reports = {other: _swap(host, other, old, code) for other in names}
        host.loaded.sources[spec.name] = text
    if spec.module:
        _put_in_place(spec.module, code.module)
    log.info("plugin %s: reloaded, %s", spec.name, {other: report["model"] for other, report in reports.items()})
    return _together(name, reports)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Broken(f"{path}: {error.strerror or error}") from error


def _new_code(spec: PluginSpec, path: str, text: bytes) -> Code:
    """The plugin made of this text, beside the one that runs. Raises `Broken`."""
    loaded = Loaded()
    module_name = spec.module or f"framegate_plugin_{spec.name}"
    was = sys.modules.get(module_name)
    try:
        source = Source(text, path)
        module = execute(module_name, path, text)
        for cls in classes_of(module, spec):
            loaded.add(cls, spec)
    except (Exception, SystemExit) as error:
        if was is not None:  # it may have run, and broken the contract
            sys.modules[module_name] = was
        raise Broken(f"{_place(error, path)}: {_words(error)}") from error
    return Code(source, module, loaded, dict(vars(was)) if was else {})


def _words(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:400]


def _place(error: BaseException, path: str) -> str:
    """Where in the author's file it happened, as far as that can be told."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename or path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{lines[-1]}" if lines else path


def _beyond(old: Loaded, new: Loaded, names: list[str]) -> str | None:
    """Why this change needs a new worker; None if it does not."""
    if added := sorted(new.analyzers.keys() - set(names)):
        return f"{added[0]} is new"
    if gone := sorted(set(names) - new.analyzers.keys()):
        return f"{gone[0]} is gone"
    for name in names:
        for part in FIXED:
            if getattr(old.manifests[name], part) != getattr(new.manifests[name], part):
                return f"{part} of {name} changed"
    return None


def _swap(host: AnalyzerHost, name: str, old: Source, code: Code) -> Report:
    """Have one analyzer go on with its new class, under the model it has if that can be."""
    was, _ = host.loaded.analyzers[name]
    cls, spec = code.loaded.analyzers[name]
    host.loaded.analyzers[name] = (cls, spec)
    host.loaded.manifests[name] = code.loaded.manifests[name]
    instance = host.ready.get(name)
    if instance is None or not (_same_model(was, cls, old, code.source) and _becomes(instance, cls)):
        return _close(host, name)
    followed = [_succeed(kind, successor) for kind, successor in _other_classes(code)]
    kept = all(followed) and old.remembering(was.__qualname__) == code.source.remembering(cls.__qualname__)
    if not kept:
        host.forget_analyzer(name)
    about = {"model": "kept", "memories": "kept" if kept else "dropped"}
    return {**_report(name, "ready"), **about, "manifest": host.introduce(name)}


def _same_model(was: type[Analyzer], cls: type[Analyzer], old: Source, new: Source) -> bool:
    before, after = old.loading(was.__qualname__), new.loading(cls.__qualname__)
    return was.__qualname__ == cls.__qualname__ and before is not None and before == after


def _becomes(instance: Analyzer, cls: type[Analyzer]) -> bool:
    """Make the object one of the new class; not possible where its slots differ."""
    try:
        object.__setattr__(instance, "__class__", cls)
    except TypeError:
        return False
    return True


def _other_classes(code: Code) -> list[tuple[type, type]]:
    """The plain classes of the old module, each with the one of its name in the new: options, what memories hold."""
    return [
        (kind, successor)
        for name, kind in code.before.items()
        if isinstance(kind, type) and kind.__module__ == code.module.__name__ and not issubclass(kind, Analyzer)
        if isinstance(successor := getattr(code.module, name, None), type) and successor is not kind
    ]


def _succeed(kind: type, successor: type) -> bool:
    """Make every object of a class one of its successor; whether all could be."""
    try:
        for holder in gc.get_referrers(kind):
            if type(holder) is kind:
                object.__setattr__(holder, "__class__", successor)
    except TypeError:
        return False
    return True


def _close(host: AnalyzerHost, name: str) -> Report:
    """Have the analyzer loaded anew when it is next prepared."""
    instance = host.ready.pop(name, None)
    host.forget_analyzer(name)
    if instance is not None:
        try:
            instance.close()
        except Exception:
            log.warning("analyzer %s: close failed", name, exc_info=True)
    about = {"model": "none" if instance is None else "closed", "memories": "dropped"}
    return {**_report(name, "idle"), **about, "manifest": host.introduce(name)}


def _put_in_place(name: str, module: ModuleType) -> None:
    """A module inside a package is its attribute too."""
    parent, _, tail = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], tail, module)


def _report(name: str, state: str, reason: str | None = None) -> Report:
    return {
        "t": "reload",
        "analyzer": name,
        "state": state,
        "model": "none",
        "memories": "kept",
        "reason": reason,
        "traceback": None,
        "also": [],
    }


def _together(name: str, reports: dict[str, Report]) -> Report:
    """The report on the analyzer that was asked for, with those on the others of its file."""
    return {**reports[name], "also": [report for other, report in reports.items() if other != name]}
