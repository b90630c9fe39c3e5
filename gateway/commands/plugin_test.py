"""`framegate plugin test`: the conformance check of a plugin, as a table or as JSON."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.commands.table import table
from gateway.testing.conformance import FRAMES, MEMORY_S, Check, held
from gateway.testing.probe import ProbeFailed
from gateway.testing.rules import BY_ID, Verdict, mend
from gateway.testing.sandbox import Sandbox, told
from gateway.testing.target import CannotRun, Found, find

if TYPE_CHECKING:
    from gateway.settings import Settings

LONG_S = 600.0  # for the memory of as many frames as somebody asks for


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be tested. `frames` None: as many as the time allows, up to 1,000."""

    target: str
    analyzer: str | None = None
    frames: int | None = None
    rules: tuple[str, ...] = ()
    json: bool = False


def plugin_test(settings: Settings, wish: Wish) -> int:
    """The exit code: 0 if every rule holds, 1 if one is refused, 2 if there was nothing to test or it cannot run."""
    if strange := [rule for rule in wish.rules if rule not in BY_ID]:
        return _cannot(f"there is no rule {strange[0]}; there are {', '.join(BY_ID)}", wish.json)
    sandbox = Sandbox(settings)
    check = Check(
        sandbox,
        wish.rules or tuple(BY_ID),
        wish.frames or FRAMES,
        LONG_S if wish.frames else MEMORY_S,
        settings.analysis.deadline_s,
    )
    try:
        found = find(wish.target, sandbox, analyzer=wish.analyzer)
        seen = {f"plugin {name}": [verdict] for name, verdict in found.broken.items()}
        for candidate in found.candidates:
            seen[candidate.analyzer] = check.run(candidate, None if wish.json else _progress())
    except (CannotRun, ProbeFailed) as error:
        return _cannot(str(error), wish.json)
    _print(seen, found, as_json=wish.json)
    return 0 if all(held(verdicts) for verdicts in seen.values()) else 1


def _cannot(reason: str, as_json: bool) -> int:
    if as_json:
        print(jsonlib.dumps({"ok": False, "cannot_run": reason}))
    else:
        print(f"plugin test: {reason}", file=sys.stderr)
    return 2


def _progress() -> Any:
    """On a terminal, which rule has just been judged."""
    if not sys.stderr.isatty():
        return None

    def tell(verdict: Verdict) -> None:
        print(f"\r\x1b[K{verdict.rule}: {verdict.state}", end="\r", file=sys.stderr, flush=True)

    return tell


def _print(seen: Mapping[str, Sequence[Verdict]], found: Found, *, as_json: bool) -> None:
    if as_json:
        print(jsonlib.dumps(_document(seen, found), indent=2))
        return
    for name, verdicts in seen.items():
        version = f" {found.versions[name]}" if name in found.versions else ""
        print(f"{name}{version}")
        print(table(("RULE", "STATE", "WHAT WAS SEEN"), map(_row, verdicts)))
        for verdict in verdicts:
            if verdict.state in ("refused", "warning"):
                print(f"\n{verdict.rule}: {BY_ID[verdict.rule].asks}\n  {verdict.reason}\n  -> {mend(verdict)}")
        print(f"\n{_sum(verdicts)}")
    for name, confined in found.confined.items():
        print(f"plugin {name} ran as in a worker; {told(confined)}" if confined else f"plugin {name} ended its process")


def _row(verdict: Verdict) -> tuple[str, str, str]:
    state = "-" if verdict.state == "unjudged" else verdict.state
    return verdict.rule, state, verdict.reason or _figures(verdict)


def _figures(verdict: Verdict) -> str:
    seen = verdict.measured
    if verdict.rule == "memory":
        text = f"{seen['kb_per_frame']:.2f} ± {seen['half_95']:.2f} KB a frame over {seen['frames']} frames"
        return f"{text}; a leak under {seen['detectable_kb']:g} KB a frame would not be seen"
    return ", ".join(f"{name} {value}" for name, value in seen.items() if not isinstance(value, list))


def _sum(verdicts: Sequence[Verdict]) -> str:
    refused = [verdict.rule for verdict in verdicts if verdict.state == "refused"]
    holds = sum(verdict.state == "holds" for verdict in verdicts)
    if refused:
        return f"refused: {', '.join(refused)}; {holds} of {len(verdicts)} rules hold"
    return "1 rule holds, none is refused" if holds == 1 else f"{holds} rules hold, none is refused"


def _document(seen: Mapping[str, Sequence[Verdict]], found: Found) -> dict[str, Any]:
    return {
        "ok": all(held(verdicts) for verdicts in seen.values()),
        "analyzers": [
            {
                "name": name,
                "version": found.versions.get(name),
                "verdicts": [{**asdict(one), "mend": mend(one)} for one in verdicts],
            }
            for name, verdicts in seen.items()
        ],
        "confined": found.confined,
    }
