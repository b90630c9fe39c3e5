"""`framegate plugins`: what is installed, and what each analyzer still lacks. Needs no running gateway.

Plugins are imported in worker processes here as everywhere, so one that crashes at import is a line in the table.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.commands.table import table
from gateway.engine.environment import installed, worker_environment, worker_options
from gateway.engine.plugins import PluginSpec
from gateway.engine.worker import ProcessWorker, WorkerDied, WorkerSetup

if TYPE_CHECKING:
    from gateway.settings import Settings


@dataclass(slots=True)
class Found:
    """A plugin, what its analyzers and connectors are, and why it could not be loaded, if so."""

    spec: PluginSpec
    analyzers: list[dict[str, Any]] = field(default_factory=list)
    connectors: list[dict[str, Any]] = field(default_factory=list)
    confined: dict[str, str] = field(default_factory=dict)  # what was taken from its worker, and by what
    failed: str = ""


def plugins(settings: Settings, *, json: bool) -> int:
    """The exit code: 1 if a plugin cannot be loaded."""
    found = asyncio.run(look(settings))
    if json:
        items = [_json(item) for item in found]
        print(jsonlib.dumps({"plugins": items}, indent=2))
    else:
        heads = ("PLUGIN", "FROM", "VERSION", "BRINGS", "PERMISSIONS", "STATE")
        print(table(heads, [row for item in found for row in _rows(item)]))
    return 1 if any(item.failed for item in found) else 0


async def look(settings: Settings) -> list[Found]:
    """What there is, as worker processes tell it."""
    groups: dict[str, list[PluginSpec]] = {}
    for spec in installed(settings):
        groups.setdefault(spec.group, []).append(spec)
    return [item for specs in groups.values() for item in await _ask(settings, specs)]


async def _ask(settings: Settings, specs: list[PluginSpec]) -> list[Found]:
    """What a worker says of one group's plugins; a group whose worker dies is asked one by one."""
    environment = {**worker_environment(settings, specs), "FRAMEGATE_CHILD_LOG": "CRITICAL"}
    worker = ProcessWorker(WorkerSetup(tuple(specs), worker_options(settings), environment))
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
            [connector for connector in hello.get("connectors", ()) if connector["plugin"] == spec.name],
            hello["confined"],
            hello["failed"].get(spec.name, ""),
        )
        for spec in specs
    ]


def _json(item: Found) -> dict[str, Any]:
    return {
        **asdict(item.spec),
        "analyzers": item.analyzers,
        "connectors": item.connectors,
        "confined": item.confined,
        "failed": item.failed or None,
    }


def _rows(item: Found) -> list[tuple[str, ...]]:
    origin = item.spec.distribution or item.spec.path
    brought = [(analyzer["name"], analyzer) for analyzer in item.analyzers]
    brought += [(f"{connector['scheme']}:", {"missing": None, **connector}) for connector in item.connectors]
    if not brought:
        state = f"failed: {item.failed.strip().rpartition(chr(10))[2]}" if item.failed else "nothing in it"
        return [(item.spec.name, origin, item.spec.version, "-", "-", state)]
    return [
        (item.spec.name, origin, item.spec.version, name, _asked(about, item.spec), state_of(about))
        for name, about in brought
    ]


def _asked(analyzer: dict[str, Any], spec: PluginSpec) -> str:
    """What the analyzer asks for, each with the operator's answer."""
    asked = [f"{name} {'granted' if name in spec.granted else 'denied'}" for name in sorted(analyzer["permissions"])]
    return ", ".join(asked) or "-"


def state_of(analyzer: dict[str, Any]) -> str:
    """Whether it could run here, in a few words."""
    if analyzer["failed"]:
        return f"failed: {analyzer['failed'].strip().rpartition(chr(10))[2]}"
    return f"missing: {analyzer['missing']}" if analyzer["missing"] else "ready"
