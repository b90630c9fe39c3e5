"""Finding and loading plugins, and telling what each analyzer is.

The gateway process only reads metadata (`discover`); the modules themselves are imported in worker processes (`load`),
because a plugin may import anything. Built-ins come through the same entry points as strangers'.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from gateway import hookspecs
from gateway.analyzer import Analyzer, check_analyzer, options_schema
from gateway.function import analyzers_in
from gateway.hookspecs import ENTRY_POINT_GROUP, PROJECT

log = logging.getLogger(__name__)

BUILT_IN = "framegate"


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """Where a plugin is found: `module` of an installed distribution, or `path` of a file."""

    name: str
    module: str = ""
    path: str = ""
    distribution: str = ""
    version: str = ""

    @property
    def group(self) -> str:
        """Plugins of one group share a worker process: the built-ins one, every other distribution its own."""
        return self.distribution or self.path


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the gateway knows of an analyzer without importing it. `missing` says why it cannot run here, if so."""

    name: str
    plugin: str
    distribution: str
    version: str
    title: str = ""
    needs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    pixels: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    load_options: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    api: str = ""
    missing: str | None = None
    failed: str | None = None

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Manifest:
        listed = {name: tuple(item[name]) for name in ("needs", "labels", "event_types", "load_options", "permissions")}
        return cls(**{**item, **listed})


def discover(files: Iterable[str] = (), off: Iterable[str] = ()) -> list[PluginSpec]:
    """Every installed plugin (entry point group `framegate.plugins`) not switched off, then the named files."""
    off = set(off)
    found = []
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        if entry.name not in off:
            name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
            found.append(PluginSpec(entry.name, module=entry.value, distribution=name, version=version))
    for file in files:
        path = Path(file).resolve()
        found.append(PluginSpec(path.stem, path=str(path), version="file"))
    return found


@dataclass(slots=True)
class Loaded:
    """What came of importing plugins: analyzer classes by name with their spec, and tracebacks by plugin name."""

    analyzers: dict[str, tuple[type[Analyzer], PluginSpec]] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, cls: type[Analyzer], spec: PluginSpec) -> None:
        """Raises for a class that breaks the contract, or whose name is taken."""
        check_analyzer(cls)
        if other := self.analyzers.get(cls.name):
            raise TypeError(f"two analyzers are called {cls.name}: {_owner(other[1])} and {_owner(spec)}")
        self.manifests[cls.name] = manifest(cls, spec)
        self.analyzers[cls.name] = (cls, spec)


def load(specs: Iterable[PluginSpec]) -> Loaded:
    """Import plugins and collect their analyzers. One that cannot be imported is noted and hurts nobody else."""
    loaded = Loaded()
    for spec in specs:
        try:
            for cls in _analyzers_of(spec):
                loaded.add(cls, spec)
        except (Exception, SystemExit):  # a script taken for a plugin calls sys.exit()
            loaded.failed[spec.name] = traceback.format_exc(limit=-6)
            log.warning("plugin %s: failed to load", spec.name, exc_info=True)
    return loaded


def manifest(cls: type[Analyzer], spec: PluginSpec) -> Manifest:
    return Manifest(
        name=cls.name,
        plugin=spec.name,
        distribution=spec.distribution,
        version=cls.version if spec.distribution in ("", BUILT_IN) else spec.version,
        title=cls.title or (cls.__doc__ or "").strip().partition("\n")[0],
        needs=tuple(cls.needs),
        labels=tuple(cls.labels),
        event_types=tuple(cls.event_types),
        pixels=cls.pixels,
        options=options_schema(cls),
        load_options=tuple(cls.load_options),
        permissions=tuple(cls.permissions),
        api=cls.api,
    )


def manifest_json(item: Manifest) -> dict[str, Any]:
    return asdict(item)


def _owner(spec: PluginSpec) -> str:
    return f"plugin {spec.name} of {spec.distribution or spec.path}"


def _analyzers_of(spec: PluginSpec) -> list[type[Analyzer]]:
    """Register one plugin with pluggy and ask it. A manager of its own: a hook call ends at the first exception."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    module = _import(spec)
    manager.register(module, name=spec.name)
    manager.check_pending()  # a misspelt hook name is an error, not silence
    registered = [cls for classes in manager.hook.register_analyzers() for cls in classes]
    return [*registered, *analyzers_in(module)]


def _import(spec: PluginSpec) -> ModuleType:
    if spec.module:
        return importlib.import_module(spec.module)
    found = importlib.util.spec_from_file_location(f"framegate_plugin_{spec.name}", spec.path)
    if found is None or found.loader is None:
        raise ImportError(f"{spec.path} is no Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
