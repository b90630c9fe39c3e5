"""Catalog: which analyzers there are, at which worker, and which of them a stream gets when it asks.

Of two analyzers of one name the one whose plugin was found first has it, in whatever order their workers answer.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.engine.plugins import BUILT_IN, Manifest, PluginSpec
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.terms import MOTION, ZONES, Terms, nearest, operators_mistake, terms
from gateway.errors import NotFound, UnknownOption
from gateway.protocol import to_text
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.engine.supervisor import Supervisor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: itself with its analyzers named, and the terms of each analyzer, needs first."""

    request: SessionRequest
    terms: Mapping[str, Terms]


class Catalog:
    """`homes` says which worker an analyzer is at, `errors` what is wrong with a plugin."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runners: dict[str, Runner] = {}
        self.homes: dict[str, Supervisor] = {}
        self.plugins: list[PluginSpec] = []
        self.errors: dict[str, str] = {}
        self.off: Collection[str] = ()  # optional plugins there are that nobody turned on
        self._vanished: set[str] = set()

    # --- what workers say --------------------------------------------------------------------------------------------

    def meet(self, supervisor: Supervisor, manifests: Iterable[Manifest], failed: Mapping[str, str]) -> set[str]:
        """A worker has said what it holds, perhaps not for the first time.

        Answers the analyzers whose streams must be planned anew, because they moved, came back or need others now.
        """
        if supervisor.state != "running":  # a new process; while one runs it may take over new code
            for spec in self.plugins:
                if spec.group == supervisor.name:
                    self.errors.pop(spec.name, None)
        self.errors.update(failed)
        here = {manifest.name: self._checked(manifest) for manifest in manifests}
        if supervisor.state != "disabled":
            for name in supervisor.runners.keys() - here.keys():
                self._miss(supervisor.runners[name], failed)
        return {name for name, manifest in here.items() if self._adopt(manifest, supervisor)}

    def _checked(self, manifest: Manifest) -> Manifest:
        """With the operator's mistake in it, if its settings have one that the host can see."""
        mistake = operators_mistake(manifest, self.settings.analyzers.get(manifest.name, {}))
        return replace(manifest, failed=mistake) if mistake else manifest

    def _miss(self, runner: Runner, failed: Mapping[str, str]) -> None:
        """Its worker came back without it."""
        plugin = runner.manifest.plugin
        self._vanished.add(runner.name)
        reason = "failed to load" if plugin in failed else "no longer has it"
        runner.prepared("failed", f"plugin {plugin} {reason}", failed.get(plugin))

    def _adopt(self, manifest: Manifest, supervisor: Supervisor) -> bool:
        """Take an analyzer in; whether its streams must be planned anew."""
        home = self.homes.get(manifest.name)
        if home is supervisor:
            return self._renew(self.runners[manifest.name], manifest)
        if home is not None:
            rivals = self._spec(self.runners[manifest.name].manifest, home), self._spec(manifest, supervisor)
            first, second = sorted(rivals, key=self.plugins.index)
            self.errors[second.name] = _clash(manifest.name, first, second)
            if second is rivals[1]:
                return False
            home.runners.pop(manifest.name).on_change = None
        runner = Runner(manifest, self.settings.analysis)
        self.homes[manifest.name] = supervisor
        self.runners[manifest.name] = supervisor.runners[manifest.name] = runner
        return home is not None

    def _spec(self, manifest: Manifest, supervisor: Supervisor) -> PluginSpec:
        return next(s for s in self.plugins if (s.group, s.name) == (supervisor.name, manifest.plugin))

    def _renew(self, runner: Runner, manifest: Manifest) -> bool:
        """The same analyzer, perhaps with new code."""
        before, runner.manifest = runner.manifest, manifest
        returned = runner.name in self._vanished
        self._vanished.discard(runner.name)
        if manifest == before and not returned:
            return False
        problem = manifest.failed or manifest.missing
        if problem:
            runner.prepared("failed", problem)
        elif returned or before.failed or before.missing:
            runner.reset()
            return True
        return (before.needs, before.wants) != (manifest.needs, manifest.wants)

    # --- what streams ask for ----------------------------------------------------------------------------------------

    def runner(self, name: str) -> Runner:
        """Raises `NotFound`."""
        if name not in self.runners:
            raise NotFound(self._no_analyzer(name), code="unknown_analyzer")
        return self.runners[name]

    def plan(self, request: SessionRequest, *, said: Collection[str]) -> Plan:
        """Which analyzers a request comes to, on which terms. Raises `UnknownOption`, before anything has changed.

        `said` are the analyzers that options were named for just now: they must be among them. Options from earlier
        for one that no longer is are dropped.
        """
        areas = [shape.name for shape in request.zones]
        asked = self.default(zones=bool(areas)) if request.analyzers is None else request.analyzers
        wanted = list(dict.fromkeys(asked))
        wishes = request.options or {}
        names = self.resolve(wanted)
        if MOTION not in names and self._gated(names, wishes):
            names.insert(0, MOTION)
        if unused := set(said) - set(names):
            raise UnknownOption(f"options for {min(unused)}, which is not among this stream's analyzers")
        found = {
            name: terms(self.runners[name].manifest, self._operators(name), wishes.get(name, {}), areas)
            for name in names
        }
        kept = {name: dict(values) for name, values in wishes.items() if name in found and values}
        return Plan(replace(request, analyzers=tuple(wanted), options=kept), found)

    def _gated(self, names: Iterable[str], wishes: Mapping[str, Mapping[str, object]]) -> bool:
        """Whether one of these looks only while something moves. Without `motion` only a stream's wish is refused."""
        if any(wishes.get(name, {}).get("motion_gate") for name in names):
            self.resolve([MOTION])
            return True
        gated = any({**self._operators(name), **wishes.get(name, {})}.get("motion_gate") for name in names)
        return gated and MOTION in self.runners

    def _operators(self, name: str) -> Mapping[str, object]:
        """The operator's options for an analyzer. A mistake in them has made it fail; it is no stream's mistake."""
        return {} if self.runners[name].manifest.failed else self.settings.analyzers.get(name, {})

    def resolve(self, wanted: Iterable[str]) -> list[str]:
        """The analyzers to run, needs added and first; last those with wants, if nobody needs them.

        Raises `UnknownOption`.
        """
        ordered: list[str] = []
        for name in sorted(wanted, key=self._has_wants):
            self._add(name, ordered, ())
        return ordered

    def _has_wants(self, name: str) -> bool:
        return name in self.runners and bool(self.runners[name].manifest.wants)

    def _add(self, name: str, ordered: list[str], path: tuple[str, ...]) -> None:
        if name in path:
            raise UnknownOption(f"analyzers need each other in a circle: {' -> '.join((*path, name))}")
        if name not in self.runners:
            raise UnknownOption(self._no_analyzer(name), code="unknown_analyzer")
        for need in self.runners[name].manifest.needs:
            self._add(need, ordered, (*path, name))
        if name not in ordered:
            ordered.append(name)

    def _no_analyzer(self, name: str) -> str:
        if name in self.off:
            return f"the analyzer {name} is off; its operator turns it on with plugins_on = [{to_text(name)}]"
        there = f"there are {', '.join(sorted(self.runners)) or 'none'}"
        return f"there is no analyzer {name[:64]!r}; {nearest(name, self.runners, there)}"

    def default(self, *, zones: bool = False) -> list[str]:
        """`motion` and every built-in whose weights are found, unless the operator says otherwise.

        `zones`, which would have nothing to do, only where some are drawn; optional ones only where they are named.
        """
        if self.settings.analysis.default is not None:
            return self.settings.analysis.default
        ours = [name for name, runner in self.runners.items() if runner.manifest.distribution == BUILT_IN]
        optional = {spec.name for spec in self.plugins if spec.optional}
        ours = [name for name in ours if self.runners[name].manifest.plugin not in optional]
        ours = [name for name in ours if name != ZONES or zones]
        return sorted(filter(self._fit, ours), key=lambda name: (name != MOTION, name))

    def _fit(self, name: str) -> bool:
        """Whether an analyzer and all it needs can run here."""
        runner = self.runners.get(name)
        down = runner is None or runner.state in ("failed", "disabled")
        return not down and all(map(self._fit, self.runners[name].manifest.needs))


def _clash(analyzer: str, first: PluginSpec, second: PluginSpec) -> str:
    """One error that names both."""
    return (
        f"two analyzers are called {analyzer}: plugin {first.name} of {first.group} and plugin {second.name} of"
        f" {second.group}; the first one is used"
    )
