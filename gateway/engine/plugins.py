"""Finding and loading plugins, and telling what each analyzer is.

The gateway process only reads metadata (`discover`); the modules themselves are imported in worker processes (`load`),
because a plugin may import anything. Built-ins come through the same entry points as strangers'.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from gateway import hookspecs
from gateway.analyzer import PERMISSIONS, Analyzer, check_analyzer, options_schema
from gateway.connector import Connector, check_connector
from gateway.function import analyzers_in
from gateway.hookspecs import ENTRY_POINT_GROUP, OPTIONAL_GROUP, PROJECT

log = logging.getLogger(__name__)

BUILT_IN = "framegate"


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """Where a plugin is found: `module` of an installed distribution, or `path` of a file.

    `optional`: it is heavy or tells others what it sees, so it runs only where the operator named it.
    """

    name: str
    module: str = ""
    path: str = ""
    distribution: str = ""
    version: str = ""
    granted: tuple[str, ...] = tuple(sorted(PERMISSIONS))  # by the operator; `approve` says which
    optional: bool = False

    @property
    def group(self) -> str:
        """Plugins of one group share a worker process: the built-ins one, every other distribution its own.

        An optional plugin shares with nobody.
        """
        return f"{self.distribution}:{self.name}" if self.optional else self.distribution or self.path

    @property
    def owner(self) -> str:
        """By what name the operator grants permissions: the distribution's, or the file's without its ending.

        Our own optional plugins have them by their own names: what one may, the others need not.
        """
        if self.optional and self.distribution == BUILT_IN:
            return self.name
        return self.distribution or Path(self.path).stem


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the gateway knows of an analyzer without importing it. `missing` says why it cannot run here, if so."""

    name: str
    plugin: str
    distribution: str
    version: str
    title: str = ""
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
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
        names = ("needs", "wants", "labels", "event_types", "load_options", "permissions")
        return cls(**{**item, **{name: tuple(item[name]) for name in names}})


def discover(
    files: Iterable[str] = (), off: Iterable[str] = (), folder: Path | None = None, *, on: Collection[str] = ()
) -> list[PluginSpec]:
    """Every plugin there is, in the order in which an analyzer's name is given away.

    The built-ins, what else is installed (entry point group `framegate.plugins`), the named files, and the folder's,
    each by name. `off` leaves out entry points and files of the folder, not what was named; `on` are the optional
    plugins that are wanted.
    """
    off = set(off)
    there = [*_installed(), *(spec for spec in optional_plugins() if spec.name in on)]
    found = [spec for spec in sorted(there, key=_rank) if spec.name not in off]
    named = [Path(file).resolve() for file in files]
    lying = [path for path in _python_files(folder) if path.stem not in off] if folder else []
    for path in dict.fromkeys([*named, *lying]):
        taken = {spec.name for spec in found}
        name = next((name for name in (path.stem, path.name) if name not in taken), str(path))
        found.append(PluginSpec(name, path=str(path), version="file"))
    return found


def optional_plugins() -> list[PluginSpec]:
    """The installed plugins that run only where the operator named them in `plugins_on`."""
    return _installed(OPTIONAL_GROUP, optional=True)


def _installed(group: str = ENTRY_POINT_GROUP, *, optional: bool = False) -> list[PluginSpec]:
    found = []
    for entry in entry_points(group=group):
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
        spec = PluginSpec(entry.name, module=entry.value, distribution=name, version=version, optional=optional)
        found.append(spec)
    return sorted(found, key=_rank)


def _rank(spec: PluginSpec) -> tuple[bool, str, str]:
    return spec.distribution != BUILT_IN, spec.name, spec.distribution


def _python_files(folder: Path) -> list[Path]:
    """What would be a plugin if it can be read; what cannot be is for the worker to say."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [folder.resolve() / name for name in names if name.endswith(".py") and not name.startswith(("_", "."))]
    return [path for path in paths if not path.is_dir()]


def approve(specs: Iterable[PluginSpec], permissions: Mapping[str, Sequence[str]]) -> list[PluginSpec]:
    """The plugins with what the operator granted each. Distribution names are compared as package indexes do."""
    by_name = {_plain(name): tuple(granted) for name, granted in permissions.items()}
    return [replace(spec, granted=by_name.get(_plain(spec.owner), ())) for spec in specs]


def denied(cls: type[Analyzer | Connector], spec: PluginSpec) -> str | None:
    """Why an analyzer or connector may not run: it asks for more than the operator granted, and how to grant it."""
    lacking = sorted(set(cls.permissions) - set(spec.granted))
    if not lacking or spec.group == BUILT_IN:
        return None
    line = f"{json.dumps(spec.owner)} = {json.dumps(sorted({*cls.permissions, *spec.granted}))}"
    return f"plugin_denied: it asks for {' and '.join(lacking)}; framegate.toml, [plugin_permissions]: {line}"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(slots=True)
class Loaded:
    """What came of importing plugins: analyzer classes by name and connector classes by scheme, with their spec, and
    tracebacks by plugin name.
    """

    connectors: dict[str, tuple[type[Connector], PluginSpec]] = field(default_factory=dict)
    analyzers: dict[str, tuple[type[Analyzer], PluginSpec]] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sources: dict[str, bytes] = field(default_factory=dict)  # the text a plugin was made from, by its name

    def add(self, cls: type[Analyzer], spec: PluginSpec) -> None:
        """Raises for a class that breaks the contract, or whose name is taken."""
        check_analyzer(cls)
        if other := self.analyzers.get(cls.name):
            raise TypeError(f"two analyzers are called {cls.name}: {_owner(other[1])} and {_owner(spec)}")
        self.manifests[cls.name] = manifest(cls, spec)
        self.analyzers[cls.name] = (cls, spec)

    def connect(self, cls: type[Connector], spec: PluginSpec) -> None:
        """Raises for a class that breaks the contract, or whose scheme is taken."""
        check_connector(cls)
        if other := self.connectors.get(cls.scheme):
            raise TypeError(f"two connectors are called {cls.scheme}: {_owner(other[1])} and {_owner(spec)}")
        self.connectors[cls.scheme] = (cls, spec)


def load(specs: Iterable[PluginSpec]) -> Loaded:
    """Import plugins and collect their analyzers and connectors. One that cannot be imported hurts nobody else."""
    loaded = Loaded()
    for spec in specs:
        try:
            module, loaded.sources[spec.name] = _import(spec)
            for cls in classes_of(module, spec):
                loaded.add(cls, spec)
            for connector in connectors_of(module, spec):
                loaded.connect(connector, spec)
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
        wants=tuple(cls.wants),
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


def classes_of(module: ModuleType, spec: PluginSpec) -> list[type[Analyzer]]:
    """The analyzers that a plugin registers, and its functions that are ones."""
    registered = [cls for classes in _registered(module, spec).hook.register_analyzers() for cls in classes]
    return [*registered, *analyzers_in(module)]


def connectors_of(module: ModuleType, spec: PluginSpec) -> list[type[Connector]]:
    """The connectors that a plugin registers."""
    return [cls for classes in _registered(module, spec).hook.register_connectors() for cls in classes]


def _registered(module: ModuleType, spec: PluginSpec) -> pluggy.PluginManager:
    """A manager of its own for each plugin: a hook call ends at the first exception."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=spec.name)
    manager.check_pending()  # a misspelt hook name is an error, not silence
    return manager


def _import(spec: PluginSpec) -> tuple[ModuleType, bytes]:
    """The plugin's module, and the text it was made from."""
    if not spec.module:
        text = Path(spec.path).read_bytes()
        return execute(f"framegate_plugin_{spec.name}", spec.path, text), text
    module = importlib.import_module(spec.module)
    return module, Path(module.__file__).read_bytes() if module.__file__ else b""


def execute(name: str, path: str, text: bytes) -> ModuleType:
    """A new module of this text, known under this name once it has run; never one of bytecode kept from an older text.

    Whatever had the name before is put back if it raises.
    """
    found = importlib.util.spec_from_file_location(name, path)
    if found is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module
