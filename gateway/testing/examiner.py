"""The child process of the conformance check: `python -m gateway.testing.examiner FD`, its task on standard input.

A plugin may crash, hang or leave while it is examined; that costs this process, and the parent tells from the last
announcement what was being done.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo, fill_options
from gateway.convert import to_result
from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import Loaded, PluginSpec, load
from gateway.frame import Frame
from gateway.results import Result, result_to_json
from gateway.testing import class_rules, process_rules, result_rules
from gateway.testing.material import Material, Moment
from gateway.testing.subject import Announcer, Refused, Subject, Unjudged, one_line

Task = Mapping[str, Any]

RULES: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "import": class_rules.examine_import,
    "contract": class_rules.examine_contract,
    "options": class_rules.examine_options,
    "exceptions": result_rules.examine_exceptions,
    "json": result_rules.examine_json,
    "pictures": result_rules.examine_pictures,
    "determinism": result_rules.examine_determinism,
    "sessions": result_rules.examine_sessions,
    "sizes": result_rules.examine_sizes,
    "gaps": result_rules.examine_gaps,
    "batch": result_rules.examine_batch,
    "threads": process_rules.examine_threads,
    "close": process_rules.examine_close,
    "quiet": process_rules.examine_quiet,
}


def look(task: Task, announcer: Announcer) -> dict[str, Any]:
    """The manifests of the plugins, and what each analyzer lacks."""
    announcer.begin("import")
    return AnalyzerHost([PluginSpec(**spec) for spec in task["plugins"]], task["settings"]).hello()


def see_needs(task: Task, announcer: Announcer) -> dict[str, Any]:
    """Run the needed analyzers, in their order, over all pictures; the results lie beside the pictures then."""
    announcer.begin("import of the needed analyzers")
    loaded = load([PluginSpec(**spec) for spec in task["plugins"]])
    material = Material(Path(task["folder"]), {})
    chain = _chain(loaded, task, announcer)
    seen = {}
    for number, name in enumerate(material.names):
        announcer.begin(f"the needed analyzers on {name}")
        frame = material.frame(Moment(name, number, number * 0.2))
        seen[name] = {need: result_to_json(result) for need, result in _see(chain, frame, name).items()}
    (Path(task["folder"]) / "needs.json").write_text(json.dumps(seen))
    return {"analyzers": [analyzer.name for analyzer in chain]}


def _chain(loaded: Loaded, task: Task, announcer: Announcer) -> list[Analyzer]:
    made = []
    for name in task["chain"]:
        announcer.begin(f"load {name}")
        cls, _ = loaded.analyzers[name]
        made.append(cls(fill_options(cls, task["settings"].get(name, {}))))
    return made


def _see(chain: list[Analyzer], frame: Frame, stream_id: str) -> dict[str, Result]:
    """Each picture as a stream of its own: the pictures are used in many orders."""
    results: dict[str, Result] = {}
    for analyzer in chain:
        given = Frame(
            frame.seq, frame.received_at, frame.width, frame.height, frame.jpeg, at=frame.at, results=dict(results)
        )
        memory = analyzer.open(SessionInfo(stream_id, options=analyzer.options))
        results[analyzer.name] = to_result(analyzer.analyze(given, memory), given, analyzer.labels)
    return results


def examine(task: Task, announcer: Announcer) -> dict[str, Any]:
    """One rule; the verdict as JSON."""
    subject = Subject.of(task, announcer)
    try:
        if task["rule"] == "deadline":
            measured = process_rules.examine_deadline(subject, task)
        elif task["rule"] == "memory":
            measured = process_rules.examine_memory(subject, task)
        else:
            measured = RULES[task["rule"]](subject)
    except Refused as refused:
        return {"state": "refused", "reason": str(refused)}
    except Unjudged as unjudged:
        return {"state": "unjudged", "reason": str(unjudged)}
    return {"state": "holds", "measured": measured}


def answer_to(task: Task, announcer: Announcer) -> dict[str, Any]:
    """What the parent asked for; a failure outside any rule is `failed`."""
    try:
        if task["task"] == "replay":
            from gateway.testing.replaying import replay

            return replay(task, announcer)
        return {"look": look, "needs": see_needs, "rule": examine}[task["task"]](task, announcer)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code
        return {"failed": one_line(error)}


def main() -> None:
    announcer = Announcer(int(sys.argv[1]))
    task = json.loads(sys.stdin.buffer.read())
    signal.alarm(int(task["limit_s"]) + 30)  # by default it ends the process, whatever native code does
    logging.basicConfig(level=logging.CRITICAL)
    announcer.finish(answer_to(task, announcer))
    os._exit(0)  # a plugin's threads do not keep us


if __name__ == "__main__":
    main()
