"""Examination: runs the tasks of suites through pipelines, some at a time, and collects the verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.commands.sources import SourceFailed
from gateway.errors import GatewayError
from gateway.evaluation import faces, weights_alone
from gateway.evaluation.faces import Gallery
from gateway.evaluation.frames import frames, still
from gateway.evaluation.material import Material
from gateway.evaluation.pipeline import CannotEvaluate, Pipeline, Take
from gateway.evaluation.run import Run
from gateway.evaluation.suites import FACES, ClipTask, FacesTask, StillsTask, Suite, Task, cannot, looked_at
from gateway.evaluation.variants import Variant
from gateway.evaluation.verdict import Verdict
from gateway.settings import Settings

Tell = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """`versions` of the analyzers that ran; `lacking` says which suites could not, and why."""

    verdicts: list[Verdict] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def passed(self) -> bool:
        return not self.lacking and all(verdict.passed for verdict in self.verdicts)


async def examine(
    settings: Settings,
    material: Material,
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    analyzers: Sequence[str] = (),
    tell: Tell = lambda line: None,
) -> Outcome:
    """Run the tasks, `jobs` at a time, each job with a pipeline of its own. `analyzers` run besides the suites' own.

    `tell` hears of each task that is done, in a line.
    """
    outcome = Outcome()
    gallery = await _gallery(settings, material, tasks, outcome)
    numbered = iter(list(enumerate(tasks)))
    found: dict[int, list[Verdict]] = {}

    async def work() -> None:
        with TemporaryDirectory(prefix="framegate-evaluate-") as folder:
            faces.enrol(Path(folder), gallery.persons if gallery else {})
            async with Pipeline(_with_library(settings, folder)).running() as pipeline:
                bench = Bench(settings, pipeline, Path(folder), gallery, tuple(analyzers), outcome)
                for number, task in numbered:
                    found[number] = await bench.judge(task)
                    tell(f"{len(found)}/{len(tasks)} {task.name}{_marks(found[number])}")

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, min(jobs, len(tasks)))):
            group.create_task(work())
    outcome.verdicts = [verdict for number in sorted(found) for verdict in found[number]]
    return outcome


async def _gallery(settings: Settings, material: Material, tasks: Sequence[Task], outcome: Outcome) -> Gallery | None:
    """Whom the suite of faces enrols; None where that suite is not asked for or cannot be run."""
    if material.faces is None or not any(suite.name == FACES for task in tasks for suite in task.suites):
        return None
    try:
        return await faces.study(settings, material.faces, material.faces_truth)
    except GatewayError as error:
        outcome.lacking[FACES] = str(error)
        return None


def _with_library(settings: Settings, folder: str) -> Settings:
    """With the face library in this folder, so that the user's own has no part in it."""
    analyzers: dict[str, dict[str, Any]] = {**settings.analyzers}
    analyzers["faces"] = {**analyzers.get("faces", {}), "library": folder}
    return settings.model_copy(update={"analyzers": analyzers})


def _marks(verdicts: Sequence[Verdict]) -> str:
    return "".join(f" {one.suite}:{'ok' if one.passed else 'FAIL'}" for one in verdicts)


@dataclass(frozen=True, slots=True)
class Bench:
    """One pipeline at work; the library that its analyzer `faces` uses is in `folder`."""

    settings: Settings
    pipeline: Pipeline
    folder: Path
    gallery: Gallery | None
    more: tuple[str, ...]
    outcome: Outcome

    async def judge(self, task: Task) -> list[Verdict]:
        """The verdicts on one task; on one that breaks, that it does."""
        suites = list(self._runnable(task.suites))
        if not suites:
            return []
        try:
            if isinstance(task, FacesTask):
                return [await self._judge_faces(task.variant)]
            names = tuple(dict.fromkeys([*(suite.analyzer for suite in suites), *self.more]))
            runs = [await self._run(take, task.variant) for take in _takes(task, suites, names)]
            alone = await self._alone(task)
        except (CannotEvaluate, SourceFailed, GatewayError, ValueError, OSError) as error:
            return [cannot(suite.name, task.name, task.variant.name, str(error)) for suite in suites]
        return [looked_at(self._verdict(task, suite, runs, alone), runs, suite.analyzer) for suite in suites]

    def _runnable(self, suites: Sequence[Suite]) -> Iterator[Suite]:
        """The suites whose analyzer, and all it needs, could run when it was last heard of."""
        for suite in suites:
            reason = _lack(suite.analyzer, self.pipeline.runners)
            if reason is None and suite.name == FACES and self.gallery is None:
                reason = self.outcome.lacking.get(FACES, "there is no gallery")
            if reason is None:
                yield suite
            else:
                self.outcome.lacking[suite.name] = reason

    async def _run(self, take: Take, variant: Variant) -> Run:
        run = await self.pipeline.run(take)
        self.outcome.versions.update(run.versions)
        return run.in_clip(variant)

    async def _alone(self, task: Task) -> list[Run]:
        """What the weights alone see in the pictures of a suite that asks for it."""
        if not isinstance(task, StillsTask) or not task.suite.alone:
            return []
        return await weights_alone.look(self.settings, task.suite.analyzer, task.stills, task.variant)

    async def _judge_faces(self, variant: Variant) -> Verdict:
        async def show(path: Path, variant: Variant) -> Run:
            return await self._run(Take(still(path, variant, faces.SHOWN_S), ("faces",)), variant)

        assert self.gallery is not None
        return await faces.judge_pictures(self.settings, show, self.folder, self.gallery, variant)

    def _verdict(self, task: ClipTask | StillsTask, suite: Suite, runs: Sequence[Run], alone: Sequence[Run]) -> Verdict:
        variant = task.variant.name
        if isinstance(task, StillsTask):
            assert suite.judge_stills is not None
            return suite.judge_stills(task.stills, runs, alone, variant)
        if suite.name == FACES:
            assert self.gallery is not None
            return faces.judge(task.clip, runs[0], variant, self.gallery)
        assert suite.judge is not None
        return suite.judge(task.clip, runs[0], variant)


def _lack(name: str, runners: Mapping[str, Any]) -> str | None:
    runner = runners.get(name)
    if runner is None:
        return f"there is no analyzer {name}"
    if runner.state in ("failed", "disabled"):
        return f"{name}: {runner.reason or runner.state}"
    return next((lack for need in runner.manifest.needs if (lack := _lack(need, runners))), None)


def _takes(task: ClipTask | StillsTask, suites: Sequence[Suite], names: tuple[str, ...]) -> Iterator[Take]:
    if isinstance(task, ClipTask):
        before = task.before.path if task.before else None
        yield Take(frames(task.clip.path, task.variant, before), names, task.options(suites))
        return
    for one in task.stills:
        yield Take(still(one.path, task.variant, task.suite.shown_s), names)
