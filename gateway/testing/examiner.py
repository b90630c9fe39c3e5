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
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from gateway.convert import to_result
from gateway.engine.confine import confine_as_told
from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import PluginSpec
from gateway.results import result_to_json
from gateway.testing import class_rules, process_rules, result_rules
from gateway.testing.material import Moment
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
    """The manifests of the plugins, what each analyzer lacks, and what was done at import that should not be."""
    announcer.begin("import")
    seen = class_rules.listen()
    return {**AnalyzerHost([PluginSpec(**spec) for spec in task["plugins"]], task["settings"]).hello(), "did": seen}


def see_needs(task: Task, announcer: Announcer) -> dict[str, Any]:
    """What a needed analyzer sees in every picture, each a stream of its own: they are used in many orders."""
    subject = Subject.of(task, announcer)
    subject.load()
    analyzer = subject.make()
    seen = {}
    for number, name in enumerate(subject.material.names):
        frame = subject.material.frame(Moment(name, number, number * 0.2))
        memory = subject.open(analyzer, name)
        announcer.begin(f"{subject.name} on {name}")
        seen[name] = result_to_json(to_result(analyzer.analyze(frame, memory), frame, analyzer.labels))
    return {"seen": seen}


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


def answer_to(task: Task, announcer: Announcer, out: IO[str] | None = None) -> dict[str, Any]:
    """What the parent asked for; a failure outside any rule is `failed`. `out` is where a replay is written to."""
    try:
        if out is not None:
            from gateway.testing.replaying import replay

            return replay(task, announcer, out)
        return {"look": look, "needs": see_needs, "rule": examine}[task["task"]](task, announcer)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code
        return {"failed": one_line(error)}


def main() -> None:
    announcer = Announcer(int(sys.argv[1]))
    task = json.loads(sys.stdin.buffer.read())
    signal.alarm(int(task["limit_s"]) + 30)  # by default it ends the process, whatever native code does
    logging.basicConfig(level=logging.CRITICAL)
    with Path(task["file"]).open("w") if "file" in task else nullcontext() as out:
        confined = confine_as_told()  # the last thing before foreign code
        answer = answer_to(task, announcer, out)
    announcer.finish({**answer, "confined": confined} if task["task"] == "look" else answer)
    os._exit(0)  # a plugin's threads do not keep us


if __name__ == "__main__":
    main()
