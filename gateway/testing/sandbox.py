"""Sandbox: which plugins there are, and what foreign code has here while it is examined: what a worker would have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.environment import approved, installed, worker_environment, worker_options
from gateway.engine.plugins import PluginSpec

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings

GRANTED, LACKING = "granted", "not enforced: "  # in a confinement's report


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The operator's settings, as far as plugins feel them."""

    settings: Settings

    def plugins(self) -> list[PluginSpec]:
        """Every plugin that a gateway would find, with what the operator granted it."""
        return installed(self.settings)

    def approved(self, specs: Iterable[PluginSpec]) -> list[PluginSpec]:
        return approved(self.settings, list(specs))

    @property
    def options(self) -> Mapping[str, Mapping[str, Any]]:
        """The operator's options of the analyzers by name, without the host's own."""
        return worker_options(self.settings)

    def environment(self, spec: PluginSpec, *readable: Path) -> dict[str, str]:
        """The environment of a process that runs this plugin, confined like its worker, and may read these besides."""
        environment = worker_environment(self.settings, [spec])
        if text := environment[VARIABLE]:
            terms = Confinement.from_text(text)
            read = (*terms.read, *(str(path.resolve()) for path in readable))
            environment[VARIABLE] = replace(terms, read=read).to_text()
        return environment


def told(confined: Mapping[str, str]) -> str:
    """A confinement's report in a line: what was taken and by what, what was granted, what nothing enforces here."""
    taken = [f"{what} ({by})" for what, by in confined.items() if by != GRANTED and not by.startswith(LACKING)]
    granted = [what for what, by in confined.items() if by == GRANTED]
    parts = [f"taken: {', '.join(taken)}"] if taken else []
    parts += [f"granted: {', '.join(granted)}"] if granted else []
    return "; ".join([*parts, *unenforced(confined)])


def unenforced(confined: Mapping[str, str]) -> list[str]:
    """What a worker should not have, and has here: the system cannot take it, or the operator does not."""
    whys: dict[str, list[str]] = {}
    for what, by in confined.items():
        if by.startswith(LACKING):
            whys.setdefault(by.removeprefix(LACKING), []).append(what)
    return [f"not taken: {', '.join(whats)} ({why})" for why, whats in whys.items()]
