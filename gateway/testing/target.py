"""What the author means by a target (a file, a plugin, a distribution, an analyzer), and what can be examined of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gateway.engine.plugins import PluginSpec
from gateway.testing.conformance import Candidate, look
from gateway.testing.rules import Verdict

Settings = Mapping[str, Mapping[str, Any]]


class CannotRun(Exception):
    """There is nothing to examine, or something lacks for it; one line with the remedy."""


@dataclass(slots=True)
class Found:
    """The analyzers of a target that can run, and the verdict on plugins that do not even load."""

    candidates: list[Candidate] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    broken: dict[str, Verdict] = field(default_factory=dict)


def find(
    target: str,
    installed: Sequence[PluginSpec],
    settings: Settings,
    environment: Mapping[str, str],
    *,
    analyzer: str | None = None,
) -> Found:
    """Look at a target in a child process. Raises `CannotRun`."""
    named = _specs(target, installed)
    specs, wanted = (named, analyzer) if named else (installed, analyzer or target)
    found, manifests = Found(), []
    for spec in specs:
        manifests += _manifests(spec, settings, environment, found)
    chosen = [item for item in manifests if wanted in (None, item["name"])]
    if not chosen and (not found.broken or not named):
        raise CannotRun(_no_analyzer(wanted or target, manifests))
    if not named:
        found.broken.clear()  # of others
    others = _Others(installed, settings, environment)
    for item in chosen:
        _runs(item)
        found.versions[item["name"]] = item["version"]
        spec = next(one for one in specs if one.name == item["plugin"])
        found.candidates.append(others.candidate(spec, item, manifests))
    return found


def _specs(target: str, installed: Iterable[PluginSpec]) -> list[PluginSpec]:
    path = Path(target).expanduser()
    if path.is_file():
        return [PluginSpec(path.stem, path=str(path.resolve()), version="file")]
    if path.suffix == ".py":
        raise CannotRun(f"there is no file {target}")
    by_name = [spec for spec in installed if spec.name == target]
    return by_name or [
        spec for spec in installed if spec.distribution and _normal(spec.distribution) == _normal(target)
    ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _manifests(
    spec: PluginSpec, settings: Settings, environment: Mapping[str, str], found: Found
) -> list[dict[str, Any]]:
    answer = look([spec], settings, environment)
    document = answer.document or {"failed": {spec.name: answer.fate}, "analyzers": []}
    if isinstance(document["failed"], str):
        document = {"failed": {spec.name: document["failed"]}, "analyzers": []}
    if reason := document["failed"].get(spec.name):
        rule = "contract" if "check_analyzer" in reason else "import"
        found.broken[spec.name] = Verdict(rule, "refused", reason.strip().rpartition("\n")[2])
    manifests: list[dict[str, Any]] = document["analyzers"]
    return manifests


def _runs(item: Mapping[str, Any]) -> None:
    if item["missing"]:
        raise CannotRun(f"analyzer {item['name']} cannot run here: {item['missing']}")
    if item["failed"]:
        raise CannotRun(f"analyzer {item['name']} cannot run here: {item['failed'].strip().rpartition(chr(10))[2]}")


def _no_analyzer(name: str, manifests: Iterable[Mapping[str, Any]]) -> str:
    known = [item["name"] for item in manifests]
    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}" if known else ""
    return f"there is no file, plugin, distribution or analyzer {name}{hint}"


class _Others:
    """The analyzers that others need, looked up once and only if somebody needs one."""

    def __init__(self, installed: Sequence[PluginSpec], settings: Settings, environment: Mapping[str, str]) -> None:
        self._installed, self._settings, self._environment = installed, settings, environment
        self._known: dict[str, tuple[Mapping[str, Any], PluginSpec]] | None = None

    def candidate(self, spec: PluginSpec, item: Mapping[str, Any], own: Iterable[Mapping[str, Any]]) -> Candidate:
        """An analyzer with what it needs: run for real where all of it can run, else drawn."""
        if not item["needs"]:
            return Candidate(spec, item["name"], self._settings)
        known = {**self._all(), **{one["name"]: (one, spec) for one in own if one["plugin"] == spec.name}}
        labels = {need: tuple(known[need][0]["labels"]) if need in known else () for need in item["needs"]}
        chain = _ordered(item["needs"], known)
        plugins = {known[name][1] for name in chain}
        return Candidate(
            spec, item["name"], self._settings, labels, tuple(chain), tuple(sorted(plugins, key=lambda one: one.name))
        )

    def _all(self) -> dict[str, tuple[Mapping[str, Any], PluginSpec]]:
        if self._known is None:
            by_name = {spec.name: spec for spec in self._installed}
            self._known = {item["name"]: (item, by_name[item["plugin"]]) for item in self._look()}
        return self._known

    def _look(self) -> list[dict[str, Any]]:
        """All at once; one by one if one of them takes the process along."""
        answer = look(self._installed, self._settings, self._environment)
        if answer.document is not None and not isinstance(answer.document["failed"], str):
            return list(answer.document["analyzers"])
        return [
            item for spec in self._installed for item in _manifests(spec, self._settings, self._environment, Found())
        ]


def _ordered(needs: Iterable[str], known: Mapping[str, tuple[Mapping[str, Any], PluginSpec]]) -> list[str]:
    """The needs and theirs, first things first; nothing if one of them is not there or cannot run."""
    order: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> bool:
        if name in order:
            return True
        if name not in known or name in above or known[name][0]["missing"] or known[name][0]["failed"]:
            return False
        if not all(add(need, (*above, name)) for need in known[name][0]["needs"]):
            return False
        order.append(name)
        return True

    complete = [add(need, ()) for need in needs]
    return order if all(complete) else []
