"""`framegate plugin replay`: a clip through an analyzer, the same way every time; and what changed since."""

from __future__ import annotations

import json as jsonlib
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gateway.commands.sources import SourceFailed, open_source
from gateway.commands.table import table
from gateway.testing import probe
from gateway.testing.conformance import Candidate
from gateway.testing.difference import Tolerance
from gateway.testing.probe import ProbeFailed
from gateway.testing.recording import Comparison, Recording, compare
from gateway.testing.sandbox import Sandbox, unenforced
from gateway.testing.target import CannotRun, Found, find

if TYPE_CHECKING:
    from gateway.settings import Settings

LIMIT_S = 24 * 3600.0  # a long clip on a slow machine
SHOWN = 10  # frames whose differences are printed; all are counted


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be replayed through what, and what it is to be compared with: a recording or another plugin."""

    clip: str
    plugin: str
    analyzer: str | None = None
    against: str | None = None
    save: Path | None = None
    fps: float | None = None
    tolerance: str = ""
    json: bool = False


def plugin_replay(settings: Settings, wish: Wish) -> int:
    """The exit code: 0 if nothing differs (or nothing was to be compared), 1 if something does, 2 if it cannot run."""
    try:
        tolerance = Tolerance.parse(wish.tolerance)
        _clip(wish.clip)
        with TemporaryDirectory(prefix="framegate-replay-") as folder:
            new = _record(settings, wish, wish.plugin, Path(folder) / "new.jsonl")
            base = _base(settings, wish, Path(folder))
            if wish.save:
                shutil.copyfile(Path(folder) / "new.jsonl", wish.save)
        comparison = compare(base, new, tolerance) if base else None
    except (CannotRun, ProbeFailed, SourceFailed, ValueError, OSError) as error:
        print(f"plugin replay: {error}", file=sys.stderr)
        return 2
    _print(new, comparison, as_json=wish.json)
    return 0 if comparison is None or comparison.same else 1


def _clip(clip: str) -> None:
    """Raises `SourceFailed` for what cannot be replayed."""
    if not Path(clip).exists():
        raise SourceFailed(f"{clip}: no such file or folder")
    if not (Path(clip) / "frames.jsonl").is_file():
        open_source(clip, fps=None, loop=False)


def _base(settings: Settings, wish: Wish, folder: Path) -> Recording | None:
    """A recording that was saved, or another plugin run the same way."""
    if wish.against is None:
        return None
    path = Path(wish.against)
    if path.is_file() and path.suffix != ".py":
        return Recording.read(path)
    return _record(settings, wish, wish.against, folder / "base.jsonl")


def _record(settings: Settings, wish: Wish, plugin: str, file: Path) -> Recording:
    """One run: what is needed first, each analyzer in a process of its own, as confined as its worker would be."""
    sandbox = Sandbox(settings)
    candidate = _candidate(find(plugin, sandbox, analyzer=wish.analyzer), plugin)
    given: dict[str, str] = {}
    for name, spec in {**candidate.chain, candidate.analyzer: candidate.plugin}.items():
        saved = file if name == candidate.analyzer else file.with_name(f"{file.stem}-{len(given)}.jsonl")
        task = {
            "task": "replay",
            "plugin": asdict(spec),
            "analyzer": name,
            "settings": candidate.settings.get(name, {}),
            "given": given,
            "clip": str(Path(wish.clip).resolve()),
            "fps": wish.fps,
            "file": str(saved),
        }
        environment = sandbox.environment(spec, Path(wish.clip), file.parent)
        answer = probe.ask(task, environment, limit_s=LIMIT_S)
        if answer.document is None or "failed" in answer.document:
            raise CannotRun(answer.fate or str(answer.document["failed"] if answer.document else ""))
        given = {**given, name: str(saved)}
    return Recording.read(file)


def _candidate(found: Found, plugin: str) -> Candidate:
    """The one analyzer that is meant. Raises `CannotRun`."""
    if found.broken:
        name, verdict = next(iter(found.broken.items()))
        raise CannotRun(f"plugin {name} does not load: {verdict.reason}")
    if len(found.candidates) != 1:
        names = ", ".join(one.analyzer for one in found.candidates)
        raise CannotRun(f"{plugin} has several analyzers, choose one with --analyzer: {names}")
    candidate = found.candidates[0]
    if lacking := ", ".join(sorted(candidate.needs.keys() - candidate.chain.keys())):
        raise CannotRun(
            f"analyzer {candidate.analyzer} needs {lacking}, which cannot run here: see `framegate plugins`"
        )
    if lines := unenforced(found.confined[candidate.plugin.name]):
        print(f"plugin replay: {'; '.join(lines)}", file=sys.stderr)
    return candidate


def _print(new: Recording, comparison: Comparison | None, *, as_json: bool) -> None:
    summary = _summary(new)
    if as_json:
        print(jsonlib.dumps({**summary, "against": _document(comparison)}, indent=2))
        return
    head = new.header
    print(f"{head['analyzer']} {head['version']} on {head['clip']['name']}: {summary['frames']} frames")
    labels = [(label, number) for label, number in summary["detections"].items()] or [("-", 0)]
    print(table(("DETECTION", "FRAMES x BOXES"), labels))
    for event in new.events:
        print(f"event {event['event_type']} {event['start']:.2f}-{event['end']:.2f} s, score {event['score']:.2f}")
    if summary["errors"]:
        print(f"{summary['errors']} frames failed, the first: {summary['first_error']}")
    if comparison is not None:
        _print_comparison(comparison)


def _summary(new: Recording) -> dict[str, Any]:
    labels = Counter(item["label"] for row in new.rows for item in row.get("result", {}).get("detections", ()))
    errors = [row["error"] for row in new.rows if "error" in row]
    return {
        **new.header,
        "frames": len(new.rows),
        "detections": dict(sorted(labels.items())),
        "events": list(new.events),
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
    }


def _document(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "same": comparison.same,
        "header": comparison.header,
        "counts": dict(comparison.counts),
        "frames": {seq: [one.text for one in found] for seq, found in comparison.frames.items()},
        "events": comparison.events,
    }


def _print_comparison(comparison: Comparison) -> None:
    print()
    for line in comparison.header:
        print(f"changed {line}")
    for seq in list(comparison.frames)[:SHOWN]:
        for one in comparison.frames[seq]:
            print(f"frame {seq} at {comparison.at[seq]:.2f} s: {one.text}")
    if (more := len(comparison.frames) - SHOWN) > 0:
        print(f"... and {more} more frames")
    for text in comparison.events:
        print(f"event {text}")
    if comparison.same:
        print("nothing differs beyond the tolerance")
    else:
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(comparison.counts.items())) or "none in frames"
        print(f"differs in {len(comparison.frames)} frames ({counts}) and {len(comparison.events)} events")
