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
from gateway.testing.sandbox import Sandbox


class CannotRun(Exception):
    """There is nothing to examine, or something lacks for it; one line with the remedy."""


@dataclass(slots=True)
class Found:
    """The analyzers of a target that can run, and the verdict on plugins that do not even load.

    `confined` says by plugin what its process gave up, and how.
    """

    candidates: list[Candidate] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    broken: dict[str, Verdict] = field(default_factory=dict)
    confined: dict[str, Mapping[str, str]] = field(default_factory=dict)


def find(target: str, sandbox: Sandbox, *, analyzer: str | None = None) -> Found:
    """Look at a target in a child process. Raises `CannotRun`."""
    installed = sandbox.plugins()
    named = sandbox.approved(_specs(target, installed))
    specs, wanted = (named, analyzer) if named else (installed, analyzer or target)
    found, manifests = Found(), []
    for spec in specs:
        manifests += _manifests(spec, sandbox, found)
    chosen = [item for item in manifests if wanted in (None, item["name"])]
    if not chosen and (not found.broken or not named):
        raise CannotRun(_no_analyzer(wanted or target, manifests))
    if not named:  # the rest is of others
        found.broken.clear()
        found.confined = {item["plugin"]: found.confined[item["plugin"]] for item in chosen}
    others = _Others(installed, sandbox)
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


def _manifests(spec: PluginSpec, sandbox: Sandbox, found: Found) -> list[dict[str, Any]]:
    answer = look(spec, sandbox)
    document = answer.document or {"failed": answer.fate}
    if isinstance(document["failed"], str):
        document = {"failed": {spec.name: document["failed"]}, "analyzers": [], "did": [], "confined": {}}
    if reason := document["failed"].get(spec.name):
        found.broken[spec.name] = _broken(reason, document["did"])
    found.confined[spec.name] = document["confined"]
    manifests: list[dict[str, Any]] = document["analyzers"]
    return manifests


def _broken(reason: str, did: Sequence[str]) -> Verdict:
    """The verdict on a plugin that does not load, for this reason, after it did this."""
    if "check_analyzer" in reason:
        return Verdict("contract", "refused", reason.strip().rpartition("\n")[2])
    return Verdict("import", "refused", f"at import: {did[0]}" if did else reason.strip().rpartition("\n")[2])


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

    def __init__(self, installed: Sequence[PluginSpec], sandbox: Sandbox) -> None:
        self._installed, self._sandbox = installed, sandbox
        self._known: dict[str, tuple[Mapping[str, Any], PluginSpec]] | None = None

    def candidate(self, spec: PluginSpec, item: Mapping[str, Any], own: Iterable[Mapping[str, Any]]) -> Candidate:
        """An analyzer with what it needs: run for real where all of it can run, else drawn."""
        options = self._sandbox.options
        if not item["needs"]:
            return Candidate(spec, item["name"], options)
        known = {**self._all(), **{one["name"]: (one, spec) for one in own if one["plugin"] == spec.name}}
        labels = {need: tuple(known[need][0]["labels"]) if need in known else () for need in item["needs"]}
        chain = {name: known[name][1] for name in _ordered(item["needs"], known)}
        return Candidate(spec, item["name"], options, labels, chain)

    def _all(self) -> dict[str, tuple[Mapping[str, Any], PluginSpec]]:
        """Each plugin by itself: one may take its process along. Of two of one name the first has it."""
        if self._known is None:
            self._known = {}
            for spec in self._installed:
                for item in _manifests(spec, self._sandbox, Found()):
                    self._known.setdefault(item["name"], (item, spec))
        return self._known


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
