"""The conformance check: every rule in child processes of its own, so that one that crashes costs one verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.engine.plugins import PluginSpec
from gateway.testing import material, probe
from gateway.testing.material import NEEDS
from gateway.testing.probe import Answer
from gateway.testing.result_rules import compare_processes
from gateway.testing.rules import BY_ID, DEADLINE_S, RULES, Rule, Verdict
from gateway.testing.sandbox import Sandbox
from gateway.testing.subject import Refused

TIMED = ("import", "deadline")  # run alone, before the others
FRAMES, MEMORY_S = 1000, 20.0
TRIES = 3  # at an import that was slow
# glibc: large blocks, such as pictures, go back to the system at once, always; without this the heap's size wanders by
# megabytes, and a leak of 1 KB a frame is lost in it. Other systems ignore it.
STEADY = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
STEADIED = ("memory", "close")

Tell = Callable[[Verdict], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An analyzer to be examined: its plugin, its options, and the analyzers it needs with their labels.

    `chain` are those analyzers and what they need in turn, first things first, each with its plugin; nothing if they
    cannot all run here.
    """

    plugin: PluginSpec
    analyzer: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chain: Mapping[str, PluginSpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """How to examine: which rules, over how many frames, within what."""

    sandbox: Sandbox
    rules: tuple[str, ...] = tuple(BY_ID)
    frames: int = FRAMES
    memory_s: float = MEMORY_S
    deadline_s: float = DEADLINE_S

    def run(self, candidate: Candidate, tell: Tell | None = None) -> list[Verdict]:
        """The verdicts in the order of the rules; `tell` hears each as soon as it is there."""
        with TemporaryDirectory(prefix="framegate-test-") as folder:
            material.draw(Path(folder))
            if not self._see_needs(candidate, Path(folder)):
                (Path(folder) / NEEDS).unlink(missing_ok=True)
            return _Run(self, candidate, Path(folder), tell or (lambda verdict: None)).verdicts()

    def _see_needs(self, candidate: Candidate, folder: Path) -> bool:
        """Lay real results of the needed analyzers beside the pictures, each from a process of its own."""
        seen: dict[str, dict[str, Any]] = {}
        for number, (name, spec) in enumerate(candidate.chain.items()):
            task = {
                "task": "needs",
                "plugin": asdict(spec),
                "analyzer": name,
                "options": candidate.settings.get(name, {}),
                "needs": dict.fromkeys(list(candidate.chain)[:number], ()),
                "folder": str(folder),
            }
            answer = probe.ask(task, self.sandbox.environment(spec, folder))
            if answer.document is None or "failed" in answer.document:
                return False
            for picture, result in answer.document["seen"].items():
                seen.setdefault(picture, {})[name] = result
            (folder / NEEDS).write_text(json.dumps(seen))
        return True


class _Run:
    """One candidate under one check."""

    def __init__(self, check: Check, candidate: Candidate, folder: Path, tell: Tell) -> None:
        self._check, self._candidate, self._folder, self._tell = check, candidate, folder, tell
        self._done: dict[str, Verdict] = {}
        self._patience = probe.PATIENT

    def verdicts(self) -> list[Verdict]:
        wanted = [rule for rule in RULES if rule.id in self._check.rules]
        self._take([rule for rule in wanted if rule.id in TIMED], 1)
        self._take([rule for rule in wanted if rule.id not in TIMED and not rule.after], min(2, os.cpu_count() or 1))
        self._take([rule for rule in wanted if rule.after], min(2, os.cpu_count() or 1))
        return [self._done[rule.id] for rule in wanted]

    def _take(self, rules: Sequence[Rule], at_once: int) -> None:
        with ThreadPoolExecutor(at_once, thread_name_prefix="rule") as pool:
            for verdict in pool.map(self._judge, rules):
                self._done[verdict.rule] = verdict
                self._tell(verdict)

    def _judge(self, rule: Rule) -> Verdict:
        if before := self._in_the_way(rule):
            return Verdict(rule.id, "unjudged", f"says nothing while {before} is refused")
        special = {"import": self._judge_import, "determinism": self._judge_determinism}
        verdict = special.get(rule.id, self._ask)(rule)
        if rule.id == "quiet" and verdict.state == "refused":  # untidy, and no harm
            return replace(verdict, state="warning")
        return verdict

    def _in_the_way(self, rule: Rule) -> str | None:
        return next((id_ for id_ in rule.after if (seen := self._done.get(id_)) and seen.state == "refused"), None)

    def _judge_import(self, rule: Rule) -> Verdict:
        """The first import compiles; a slow one is tried again."""
        verdict = self._ask(rule)
        for _ in range(TRIES - 1):
            if verdict.state != "refused" or "to import" not in verdict.reason:
                break
            verdict = self._ask(rule)
        return verdict

    def _judge_determinism(self, rule: Rule) -> Verdict:
        first, second = self._ask(rule, seed="1"), self._ask(rule, seed="2")
        if bad := next((one for one in (first, second) if one.state != "holds"), None):
            return bad
        try:
            compare_processes(first.measured["outcomes"], second.measured["outcomes"])
        except Refused as refused:
            return Verdict(rule.id, "refused", str(refused))
        return Verdict(rule.id, "holds", measured={"frames": len(first.measured["outcomes"])})

    def _ask(self, rule: Rule, seed: str = "random") -> Verdict:
        task = {
            "task": "rule",
            "rule": rule.id,
            "plugin": asdict(self._candidate.plugin),
            "analyzer": self._candidate.analyzer,
            "options": self._candidate.settings.get(self._candidate.analyzer, {}),
            "needs": self._candidate.needs,
            "folder": str(self._folder),
            "frames": self._check.frames,
            "memory_s": self._check.memory_s,
            "deadline_s": self._check.deadline_s,
        }
        limit_s = probe.LIMIT_S + 3 * self._check.memory_s
        own = self._check.sandbox.environment(self._candidate.plugin, self._folder)
        environment = {**own, "PYTHONHASHSEED": seed, **(STEADY if rule.id in STEADIED else {})}
        answer = probe.ask(task, environment, limit_s=limit_s, patience=self._patience)
        if answer.hung:  # it will again, and each rule would wait as long
            self._patience = probe.IMPATIENT
        return _verdict(rule, answer)


def _verdict(rule: Rule, answer: Answer) -> Verdict:
    if answer.document is None:
        return Verdict(rule.id, "refused", answer.fate)
    if failed := answer.document.get("failed"):
        return Verdict(rule.id, "refused", failed)
    return Verdict(rule.id, **answer.document)


def look(spec: PluginSpec, sandbox: Sandbox) -> Answer:
    """The manifests of a plugin, as a child process reads them."""
    task = {"task": "look", "plugins": [asdict(spec)], "settings": sandbox.options}
    return probe.ask(task, sandbox.environment(spec))


def held(verdicts: Iterable[Verdict]) -> bool:
    """Whether no rule was refused."""
    return not any(verdict.state == "refused" for verdict in verdicts)
