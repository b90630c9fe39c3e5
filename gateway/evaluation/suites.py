"""Suites: which clips and pictures each judges, with which analyzer and options, by which rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.evaluation import anomaly, bags, faces, people, pictures, smoking
from gateway.evaluation.material import Clip, Material, Still
from gateway.evaluation.run import Run
from gateway.evaluation.variants import Variant
from gateway.evaluation.verdict import Check, Verdict

FACES = "faces"  # judged with a gallery, which is made first
Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Suite:
    """`stills` are its pictures of some material, `shown_s` how long each is shown.

    `alone`: they are shown to the analyzer's weights alone, too (`gateway.evaluation.weights_alone`): those runs are
    `judge_stills`'s third argument, which else is empty.
    """

    name: str
    analyzer: str
    judges: Callable[[Clip], bool] = lambda clip: False
    options: Callable[[Clip], Options] = lambda clip: {}
    judge: Callable[[Clip, Run, str], Verdict] | None = None
    stills: Callable[[Material], Sequence[Still]] = lambda material: ()
    judge_stills: Callable[[Sequence[Still], Sequence[Run], Sequence[Run], str], Verdict] | None = None
    shown_s: float = 0.0
    alone: bool = False


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("bags", "bags", bags.judges, bags.options, bags.judge),
        Suite(
            "smoking",
            "smoking",
            smoking.judges,
            smoking.options,
            smoking.judge,
            stills=lambda material: material.smoking,
            judge_stills=smoking.judge_stills,
            shown_s=2.0,
            alone=True,
        ),
        Suite(FACES, "faces", faces.judges, faces.options),
        Suite("people", "tracks", people.judges, people.options, people.judge),
        Suite("anomaly", "anomaly", anomaly.judges, anomaly.options, anomaly.judge),
        Suite(
            "objects",
            "objects",
            stills=lambda material: material.objects,
            judge_stills=pictures.judge,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One clip in one variant, for all suites that judge it: their analyzers see the same frames."""

    clip: Clip
    variant: Variant
    suites: tuple[Suite, ...]
    before: Clip | None = None

    @property
    def name(self) -> str:
        return f"{self.clip.name}, {self.variant.name}"

    def options(self, suites: Iterable[Suite]) -> dict[str, Mapping[str, Any]]:
        return {name: values for suite in suites for name, values in suite.options(self.clip).items() if values}


@dataclass(frozen=True, slots=True)
class FacesTask:
    """The face pictures in one variant."""

    variant: Variant

    @property
    def name(self) -> str:
        return f"pictures of faces, {self.variant.name}"

    @property
    def suites(self) -> tuple[Suite, ...]:
        return (SUITES[FACES],)


@dataclass(frozen=True, slots=True)
class StillsTask:
    """The pictures of one suite in one variant."""

    suite: Suite
    stills: tuple[Still, ...]
    variant: Variant

    @property
    def name(self) -> str:
        return f"{len(self.stills)} pictures of {self.suite.name}, {self.variant.name}"

    @property
    def suites(self) -> tuple[Suite, ...]:
        return (self.suite,)


Task = ClipTask | StillsTask | FacesTask


def chosen(text: str, analyzers: Sequence[str] | None = None) -> list[Suite]:
    """`all` or names separated by commas; of them those that judge one of these analyzers. Raises `ValueError`."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in words if word != "all" and word not in SUITES]:
        raise ValueError(f"there is no suite {unknown[0]}; there are all, {', '.join(SUITES)}")
    found = list(SUITES.values()) if "all" in words else [SUITES[word] for word in words]
    if analyzers is None:
        return found
    kept = [suite for suite in found if suite.analyzer in analyzers]
    if not kept:
        raise ValueError(f"none of the suites judges {', '.join(analyzers)}")
    return kept


def tasks(
    material: Material, suites: Sequence[Suite], variants: Sequence[Variant], only: Collection[str] = ()
) -> list[Task]:
    """Everything to be run, by variant: each clip (or `only` these); each suite's pictures, unless clips are named."""
    found: list[Task] = []
    suites = [suite for suite in suites if suite.name != FACES or material.faces]
    for variant in variants:
        for clip in material.clips:
            judging = tuple(suite for suite in suites if suite.judges(clip))
            before = _other(clip, material.clips) if variant.before else None
            if only and clip.name not in only:
                continue
            if judging and (before or not variant.before):
                found.append(ClipTask(clip, variant, judging, before))
        if only or not _timeless(variant):
            continue
        found += [StillsTask(suite, tuple(stills), variant) for suite in suites if (stills := suite.stills(material))]
        found += [FacesTask(variant) for suite in suites if suite.name == FACES]
    return found


def _other(clip: Clip, clips: Sequence[Clip]) -> Clip | None:
    """What stands before a clip: people walking if there are any, in which nothing is to be told; else any other."""
    others = sorted((one for one in clips if one is not clip), key=lambda one: ("people" not in one.kind, one.name))
    return others[0] if others else None


def _timeless(variant: Variant) -> bool:
    """Whether it means something for a single picture."""
    return variant.name == "quick" or not (variant.fps or variant.before or variant.drift)


def looked_at(verdict: Verdict, runs: Sequence[Run], analyzer: str) -> Verdict:
    """With a failed check if there are frames that the analyzer has not looked at."""
    unseen = sum(run.unseen(analyzer) for run in runs)
    if not unseen:
        return verdict
    first = next(row for run in runs for row in run.rows if "detections" not in row.analyzers.get(analyzer, {}))
    why = {key: value for key, value in first.analyzers.get(analyzer, {}).items() if value}
    check = Check("looked at every frame", False, f"{unseen} frames not analysed, the first: {why or 'no answer'}")
    return replace(verdict, checks=(check, *verdict.checks))


def cannot(suite: str, item: str, variant: str, reason: str) -> Verdict:
    """The verdict on what could not be run."""
    return Verdict(suite, item, variant, (Check("runs", False, reason),))
