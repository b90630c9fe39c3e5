"""`framegate doctor`: what is broken on this machine, and the exact command that mends it.

Native libraries are asked in a child process: one that crashes at import is an answer, not the end of the doctor.
"""

from __future__ import annotations

import json as jsonlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.finding import Finding
from gateway.commands.libraries import ask, check_av, check_gpu, check_opencv, check_runtime
from gateway.weights import find, folders, read_manifest

if TYPE_CHECKING:
    from gateway.settings import Settings

OWN_VARIABLES = {"FRAMEGATE_CONFIG", "FRAMEGATE_OFFLINE", "FRAMEGATE_MEDIA_DIR"}  # read by others than the settings


def doctor(settings: Settings, *, json: bool) -> int:
    """The exit code: 0 when nothing is broken."""
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not json:
            print(_line(finding), flush=True)
    broken = [finding for finding in findings if finding.state == "broken"]
    if json:
        print(jsonlib.dumps({"ok": not broken, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(f"\n{len(broken)} broken" if broken else "\nnothing is broken")
    return 1 if broken else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Every finding, as it is made; the slow ones last."""
    yield check_python(sys.version_info[:3])
    yield check_home(settings.home)
    yield check_port(settings.host, settings.port)
    yield from check_environment(dict(os.environ), _setting_names())
    yield from check_weights(folders(settings.home, settings.models_dir))
    yield from check_confinement(wanted=settings.analysis.confine)
    for check in (check_opencv, check_runtime, check_av, check_gpu):
        yield check()


def check_python(version: tuple[int, ...]) -> Finding:
    text = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if (3, 11) <= version[:2] < (3, 15):
        return Finding("python", "ok", text)
    return Finding("python", "broken", text, "make the venv with Python 3.11, 3.12, 3.13 or 3.14")


def check_home(home: Path) -> Finding:
    """Writable, or could be made: the doctor leaves nothing behind."""
    place = next(folder for folder in (home.absolute(), *home.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place):
            pass
    except OSError as error:
        return Finding("data folder", "broken", f"{home}: {error.strerror}", "set FRAMEGATE_HOME to a writable folder")
    return Finding("data folder", "ok", f"{home} is writable")


def check_port(host: str, port: int) -> Finding:
    from gateway.commands.ports import is_framegate, is_free

    where = f"{host}:{port}"
    if port == 0 or is_free(host, port):
        return Finding("port", "ok", f"{where} is free")
    if is_framegate(host, port):
        return Finding("port", "note", f"{where} is taken by a running gateway")
    return Finding("port", "broken", f"{where} is taken by another program", "framegate serve --port N, or end it")


def check_environment(environment: dict[str, str], known: set[str]) -> Iterator[Finding]:
    """The FRAMEGATE_ variables in effect; a name no setting has is most often a slip."""
    from gateway.commands.config import masked

    for name, value in sorted(environment.items()):
        if not name.upper().startswith("FRAMEGATE_"):
            continue
        if name.upper().partition("__")[0] in known or name.upper() in OWN_VARIABLES:
            yield Finding(name, "ok", str(masked(name, value)))
        else:
            near = get_close_matches(name.upper(), known, 1)
            yield Finding(name, "note", "no setting has this name", f"did you mean {near[0]}?" if near else "")


def _setting_names() -> set[str]:
    from gateway.settings import PREFIX, Settings

    return {PREFIX + name.upper() for name in Settings.model_fields}


def check_weights(places: list[Path]) -> Iterator[Finding]:
    """One finding an analyzer: the files that are there, or what to fetch."""
    known = read_manifest().values()
    for analyzer in dict.fromkeys(weights.analyzer for weights in known):
        its = [weights for weights in known if weights.analyzer == analyzer]
        if found := [str(path) for weights in its for path in find(weights.file, places)]:
            yield Finding(f"weights: {analyzer}", "ok", ", ".join(found))
        else:
            remedy = f"framegate models pull {its[0].name}" if its[0].url else its[0].how
            yield Finding(f"weights: {analyzer}", "note", "none found", remedy)


def check_confinement(*, wanted: bool) -> Iterator[Finding]:
    """What this machine can take from a plugin, found by taking it from a process."""
    if not wanted:
        yield Finding("plugins confined", "note", "analysis.confine is off: plugins may do whatever the gateway may")
        return
    confine = "from gateway.engine.confine import Confinement, confine\n"
    code = f"import json\n{confine}print(json.dumps(confine(Confinement(network=False, files=False))))"
    for what, by in ask(code).items():
        if what == "error" or by.startswith("not enforced"):
            yield Finding(f"plugins confined: {what}", "note", by, "see docs/plugin-safety.md")
        else:
            yield Finding(f"plugins confined: {what}", "ok", by)


def _line(finding: Finding) -> str:
    line = f"{finding.state:6}  {finding.subject}: {finding.text}"
    return f"{line}\n        -> {finding.remedy}" if finding.remedy else line
