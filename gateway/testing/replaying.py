"""Replay, in the child process: a clip through an analyzer, every frame at its own time, its needs first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo, fill_options
from gateway.commands.sources import Files, Picture, Video, open_source
from gateway.convert import to_result
from gateway.engine.plugins import PluginSpec, load
from gateway.frame import Frame
from gateway.jpeg import read_header
from gateway.results import Result, result_to_json
from gateway.testing.recording import FORMAT, Row, event_rows
from gateway.testing.subject import Announcer, one_line

STREAM = "replay"
TIMES = "frames.jsonl"


def replay(task: Mapping[str, Any], announcer: Announcer) -> dict[str, Any]:
    """Write the recording of one run to the task's file; the counts as answer."""
    loaded = load([PluginSpec(**spec) for spec in task["plugins"]])
    chain = []
    for name in (*task["chain"], task["analyzer"]):
        announcer.begin(f"load {name}")
        if name not in loaded.analyzers:
            return {"failed": f"analyzer {name} does not load: {_last(loaded.failed)}"}
        cls, _ = loaded.analyzers[name]
        chain.append(cls(fill_options(cls, task["settings"].get(name, {}))))
    counts = {"frames": 0, "errors": 0, "detections": 0, "events": 0}
    with Path(task["file"]).open("w") as out:
        out.write(_line(_header(task, chain, loaded.manifests)))
        rows = []
        for row in _rows(task, chain, announcer):
            out.write(_line(row))
            rows.append(row)
            counts["frames"] += 1
            counts["errors"] += "error" in row
            counts["detections"] += len(row.get("result", {}).get("detections", ()))
        for event in event_rows(rows):
            out.write(_line({"event": event}))
            counts["events"] += 1
    return counts


def _last(failed: Mapping[str, str]) -> str:
    return next(iter(failed.values()), "there is none of that name").strip().rpartition("\n")[2]


def _header(task: Mapping[str, Any], chain: list[Analyzer], manifests: Mapping[str, Any]) -> dict[str, Any]:
    *needs, last = chain
    about = manifests[last.name]
    return {
        "format": FORMAT,
        "analyzer": last.name,
        "plugin": about.plugin,
        "version": about.version,
        "options": result_options(last.options),
        "needs": [{"analyzer": one.name, "version": manifests[one.name].version} for one in needs],
        "clip": {"name": Path(task["clip"]).name, "sha256": digest(Path(task["clip"]))},
        "fps": task["fps"],
    }


def result_options(options: Any) -> Any:
    """Options as plain JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(options)).dump_python(options, mode="json")


def _line(item: Mapping[str, Any]) -> str:
    return json.dumps(item, separators=(",", ":"), sort_keys=True) + "\n"


def _rows(task: Mapping[str, Any], chain: list[Analyzer], announcer: Announcer) -> Iterator[Row]:
    memories = [analyzer.open(SessionInfo(STREAM, options=analyzer.options)) for analyzer in chain]
    for seq, picture in enumerate(pictures(task["clip"], task["fps"])):
        announcer.begin(f"analyze() of frame {seq} of the clip")
        yield _row(chain, memories, seq, picture)


def _row(chain: list[Analyzer], memories: list[Any], seq: int, picture: Picture) -> Row:
    """What the last of the chain sees in one picture, or why it does not."""
    header = read_header(picture.jpeg)
    results: dict[str, Result] = {}
    row: Row = {"seq": seq, "at": round(picture.at, 6)}
    for analyzer, memory in zip(chain, memories, strict=True):
        frame = Frame(seq, picture.at, header.width, header.height, picture.jpeg, at=picture.at, results=dict(results))
        try:
            results[analyzer.name] = to_result(analyzer.analyze(frame, memory), frame, analyzer.labels)
        except Exception as error:  # noqa: BLE001 - foreign code
            return {**row, "error": f"{analyzer.name}: {one_line(error)}"}
    return {**row, "result": result_to_json(results[chain[-1].name])}


def pictures(clip: str, fps: float | None) -> Iterator[Picture]:
    """The frames of a clip or a folder, every one; a folder with `frames.jsonl` says itself when they were taken."""
    times = Path(clip) / TIMES
    if not times.is_file():
        source = open_source(clip, fps=fps, loop=False)
        assert isinstance(source, (Video, Files)), "a device cannot be replayed"
        yield from source.pictures()
        return
    for line in times.read_text().splitlines():
        item = json.loads(line)
        yield Picture((Path(clip) / item["file"]).read_bytes(), float(item["at"]))


def digest(clip: Path) -> str:
    """SHA-256 of a file, or of a folder's files and their names."""
    found = hashlib.sha256()
    for file in [clip] if clip.is_file() else sorted(path for path in clip.iterdir() if path.is_file()):
        if clip.is_dir():
            found.update(file.name.encode() + b"\0")
        found.update(file.read_bytes())
    return found.hexdigest()
