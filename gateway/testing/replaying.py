"""Replay, in the child process: a clip through an analyzer, every frame at its own time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from gateway.analyzer import Analyzer, SessionInfo
from gateway.commands.sources import Files, Picture, Video, open_source
from gateway.convert import to_result
from gateway.engine.host import own_options
from gateway.engine.plugins import Manifest, PluginSpec, load
from gateway.frame import Frame
from gateway.jpeg import read_header
from gateway.results import result_from_json, result_to_json
from gateway.testing.recording import FORMAT, Recording, Row, event_rows
from gateway.testing.subject import Announcer, one_line

STREAM = "replay"
TIMES = "frames.jsonl"


def replay(task: Mapping[str, Any], announcer: Announcer, out: IO[str]) -> dict[str, Any]:
    """Write the recording of one analyzer's run; the counts as answer.

    The task's `given` are recordings of what it needs, by name, in the order in which those were made.
    """
    announcer.begin(f"load {task['analyzer']}")
    loaded = load([PluginSpec(**task["plugin"])])
    if task["analyzer"] not in loaded.analyzers:
        return {"failed": f"analyzer {task['analyzer']} does not load: {_last(loaded.failed)}"}
    cls, _ = loaded.analyzers[task["analyzer"]]
    analyzer = cls(own_options(cls, task["settings"]))
    given = {name: Recording.read(Path(file)) for name, file in task["given"].items()}
    counts = {"frames": 0, "errors": 0, "detections": 0, "events": 0}
    out.write(_line(_header(task, analyzer, loaded.manifests[cls.name], given)))
    rows = []
    for row in _rows(task, analyzer, given, announcer):
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


def _header(
    task: Mapping[str, Any], analyzer: Analyzer, about: Manifest, given: Mapping[str, Recording]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "analyzer": about.name,
        "plugin": about.plugin,
        "version": about.version,
        "options": result_options(analyzer.options),
        "needs": [{"analyzer": name, "version": need.header["version"]} for name, need in given.items()],
        "clip": {"name": Path(task["clip"]).name, "sha256": digest(Path(task["clip"]))},
        "fps": task["fps"],
    }


def result_options(options: Any) -> Any:
    """Options as plain JSON."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(options)).dump_python(options, mode="json")


def _line(item: Mapping[str, Any]) -> str:
    return json.dumps(item, separators=(",", ":"), sort_keys=True) + "\n"


def _rows(
    task: Mapping[str, Any], analyzer: Analyzer, given: Mapping[str, Recording], announcer: Announcer
) -> Iterator[Row]:
    memory = analyzer.open(SessionInfo(STREAM, options=analyzer.options))
    for seq, picture in enumerate(pictures(task["clip"], task["fps"])):
        announcer.begin(f"analyze() of frame {seq} of the clip")
        yield _row(analyzer, memory, {name: need.rows[seq] for name, need in given.items()}, seq, picture)


def _row(analyzer: Analyzer, memory: Any, given: Mapping[str, Row], seq: int, picture: Picture) -> Row:
    """What the analyzer sees in one picture, or why it does not."""
    row: Row = {"seq": seq, "at": round(picture.at, 6)}
    for need in given.values():
        if "error" in need:
            return {**row, "error": need["error"]}
    header = read_header(picture.jpeg)
    results = {name: result_from_json(need["result"]) for name, need in given.items()}
    frame = Frame(seq, picture.at, header.width, header.height, picture.jpeg, at=picture.at, results=results)
    try:
        result = to_result(analyzer.analyze(frame, memory), frame, analyzer.labels)
    except Exception as error:  # noqa: BLE001 - foreign code
        return {**row, "error": f"{analyzer.name}: {one_line(error)}"}
    return {**row, "result": result_to_json(result)}


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
