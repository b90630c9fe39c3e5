"""`framegate evaluate`: labelled clips and pictures through the real pipeline; how right its analyzers are."""

from __future__ import annotations

import asyncio
import json as jsonlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.sources import SourceFailed
from gateway.evaluation import report, suites, variants
from gateway.evaluation.examination import Outcome, examine
from gateway.evaluation.frames import measured
from gateway.evaluation.material import BadMaterial, Material, read

if TYPE_CHECKING:
    from gateway.settings import Settings

MEDIA = "FRAMEGATE_MEDIA_DIR"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be evaluated. `suite` is names of suites, or a folder or file of material for all suites."""

    suite: str
    media: Path | None = None
    variant: str = "core"
    analyzers: str | None = None
    clips: tuple[str, ...] = ()
    quick: bool = False
    jobs: int = 1
    json: Path | None = None
    markdown: bool = False


def evaluate(settings: Settings, wish: Wish) -> int:
    """The exit code: 0 if every check holds, 1 if one does not, 2 if nothing can be run."""
    try:
        names = [name.strip() for name in wish.analyzers.split(",") if name.strip()] if wish.analyzers else None
        chosen, place = _chosen(wish, names)
        material, notes = _measured(read(place), wish.clips)
        shown = [variants.QUICK] if wish.quick else variants.chosen(wish.variant)
    except (BadMaterial, SourceFailed, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    for note in notes:
        print(f"evaluate: {note}", file=sys.stderr)
    tasks = suites.tasks(material, chosen, shown, wish.clips)
    if not tasks:
        print(f"evaluate: {place} has nothing for {', '.join(suite.name for suite in chosen)}", file=sys.stderr)
        return 2
    outcome = asyncio.run(examine(settings, material, tasks, jobs=wish.jobs, analyzers=names or (), tell=_tell))
    _print(outcome, wish, notes)
    if not outcome.verdicts:
        return 2
    return 0 if outcome.passed else 1


def _chosen(wish: Wish, analyzers: Sequence[str] | None) -> tuple[list[suites.Suite], Path]:
    """The suites, and where the material is. Raises `ValueError`."""
    own = Path(wish.suite).expanduser()
    if os.sep in wish.suite or own.suffix == ".toml" or (own.is_dir() and wish.suite not in suites.SUITES):
        return suites.chosen("all", analyzers), own
    given = wish.media or (Path(os.environ[MEDIA]) if os.environ.get(MEDIA) else None)
    if given is None:
        raise ValueError(f"where is the material? Give --media DIR or set {MEDIA}")
    return suites.chosen(wish.suite, analyzers), given


def _measured(material: Material, wanted: Sequence[str]) -> tuple[Material, list[str]]:
    """With the clips' sizes and lengths; without those that cannot be decoded. Raises `ValueError`."""
    if unknown := [name for name in wanted if name not in {clip.name for clip in material.clips}]:
        raise ValueError(f"there is no clip {unknown[0]}; there are {', '.join(clip.name for clip in material.clips)}")
    clips, notes = [], list(material.notes)
    for clip in material.clips:
        try:
            clips.append(measured(clip))
        except SourceFailed as error:
            notes.append(f"{error}, skipped")
        if not clip.kind:
            notes.append(f"{clip.name}: its truth has no kind")
    return replace(material, clips=tuple(clips)), notes


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(outcome: Outcome, wish: Wish, notes: Sequence[str]) -> None:
    if wish.json is not None:
        text = jsonlib.dumps(report.document(outcome, notes), indent=2)
        if str(wish.json) == "-":
            print(text)
            return
        wish.json.write_text(text + "\n")
    print(report.markdown(outcome) if wish.markdown else report.text(outcome))
