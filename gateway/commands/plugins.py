"""`framegate plugins`: what is installed, and what each analyzer still lacks. Needs no running gateway.

Plugins are imported in worker processes here as everywhere, so one that crashes at import is a line in the table.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.commands.table import table
from gateway.engine.plugins import PluginSpec, discover
from gateway.engine.worker import ProcessWorker, WorkerDied, WorkerSetup

if TYPE_CHECKING:
    from gateway.settings import Settings


@dataclass(slots=True)
class Found:
    """A plugin, what its analyzers are, and why it could not be loaded, if so."""

    spec: PluginSpec
    analyzers: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""


def plugins(settings: Settings, *, json: bool) -> int:
    """The exit code: 1 if a plugin cannot be loaded."""
    found = asyncio.run(_look(settings))
    if json:
        items = [{**asdict(item.spec), "analyzers": item.analyzers, "failed": item.failed or None} for item in found]
        print(jsonlib.dumps({"plugins": items}, indent=2))
    else:
        print(table(("PLUGIN", "FROM", "VERSION", "ANALYZER", "STATE"), [row for item in found for row in _rows(item)]))
    return 1 if any(item.failed for item in found) else 0


async def _look(settings: Settings) -> list[Found]:
    groups: dict[str, list[PluginSpec]] = {}
    for spec in discover(settings.plugins, settings.plugins_off):
        groups.setdefault(spec.group, []).append(spec)
    return [item for specs in groups.values() for item in await _ask(settings, specs)]


async def _ask(settings: Settings, specs: list[PluginSpec]) -> list[Found]:
    """What a worker says of one group's plugins; a group whose worker dies is asked one by one."""
    worker = ProcessWorker(WorkerSetup(tuple(specs), settings.analyzers, _environment(settings)))
    try:
        hello = await worker.start()
    except WorkerDied as error:
        if len(specs) == 1:
            return [Found(specs[0], failed=str(error))]
        return [item for spec in specs for item in await _ask(settings, [spec])]
    finally:
        await worker.close()
    return [
        Found(
            spec,
            [analyzer for analyzer in hello["analyzers"] if analyzer["plugin"] == spec.name],
            hello["failed"].get(spec.name, ""),
        )
        for spec in specs
    ]


def _environment(settings: Settings) -> dict[str, str]:
    """The environment with what was set in the file too: analyzers find their weights by it."""
    named = {"FRAMEGATE_HOME": str(settings.home), "FRAMEGATE_MODELS_DIR": settings.models_dir}
    return {**os.environ, **{name: value for name, value in named.items() if value}, "FRAMEGATE_CHILD_LOG": "CRITICAL"}


def _rows(item: Found) -> list[tuple[str, ...]]:
    origin = item.spec.distribution or item.spec.path
    if not item.analyzers:
        state = f"failed: {item.failed.strip().rpartition(chr(10))[2]}" if item.failed else "no analyzers"
        return [(item.spec.name, origin, item.spec.version, "-", state)]
    return [
        (item.spec.name, origin, item.spec.version, analyzer["name"], _state(analyzer)) for analyzer in item.analyzers
    ]


def _state(analyzer: dict[str, Any]) -> str:
    if analyzer["failed"]:
        return f"failed: {analyzer['failed'].strip().rpartition(chr(10))[2]}"
    return f"missing: {analyzer['missing']}" if analyzer["missing"] else "ready"
