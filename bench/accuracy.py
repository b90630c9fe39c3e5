"""How right the analyzers are: labelled clips and pictures through the real pipeline, all with the default options.

    python -m bench.accuracy [SUITE] [--media DIR] [--variant core] [--quick] [--jobs N] [--json FILE] [--markdown]
    python -m bench.accuracy --tables FILE ...      the tables of runs that left these JSON files

The same as `framegate evaluate`, but without this machine's framegate.toml: of the settings only FRAMEGATE_MODELS_DIR
counts. Exit code 1 if a check fails. docs/accuracy.md says what is checked, and what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.commands.evaluate import MEDIA, Wish, evaluate
from gateway.evaluation.examination import Outcome
from gateway.evaluation.report import markdown
from gateway.evaluation.verdict import Check, Verdict
from gateway.settings import load

MODELS = "FRAMEGATE_MODELS_DIR"


def main() -> int:
    options = _options()
    if options.tables:
        print(markdown(_read(options.tables)))
        return 0
    media = options.media or Path(os.environ.get(MEDIA, ""))
    if not os.environ.get(MODELS) or not (options.media or os.environ.get(MEDIA)):
        print(f"accuracy: skipped, {MODELS} or {MEDIA} is not set")
        print(json.dumps({"bench": "accuracy", "skipped": f"no {MODELS} or no {MEDIA}"}))
        return 0
    wish = {"variant": options.variant, "quick": options.quick, "jobs": options.jobs, "markdown": options.markdown}
    code, found = _evaluated(Wish(options.suite, media.absolute(), **wish), options.json)
    if not options.markdown:
        print(json.dumps({"bench": "accuracy", "passed": code == 0, **_short(found)}))
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", default="all")
    parser.add_argument("--media", type=Path)
    parser.add_argument("--variant", default="core")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--tables", type=Path, nargs="+")
    return parser.parse_args()


def _read(files: Sequence[Path]) -> Outcome:
    """The verdicts of earlier runs; of those on the same thing the last."""
    kept: dict[tuple[str, str, str], Verdict] = {}
    for file in files:
        for item in json.loads(file.read_text())["verdicts"]:
            known = {name: item[name] for name in Verdict.__slots__ if name not in ("checks", "delays")}
            checks = tuple(Check(**check) for check in item["checks"])
            verdict = Verdict(**known, checks=checks, delays=tuple(item["delays"]))
            kept[verdict.suite, verdict.item, verdict.variant] = verdict
    return Outcome(list(kept.values()))


def _evaluated(wish: Wish, copy: Path | None) -> tuple[int, dict[str, Any]]:
    """The exit code and the document, where neither framegate.toml nor .env is; and a copy of that, if wanted."""
    for name in [name for name in os.environ if name.startswith("FRAMEGATE_") and name not in (MODELS, MEDIA)]:
        del os.environ[name]
    kept = copy.absolute() if copy else None
    with TemporaryDirectory(prefix="framegate-accuracy-") as folder:
        os.chdir(folder)
        file = Path(folder) / "found.json"
        code = evaluate(load(home=Path(folder)), Wish(**{**_fields(wish), "json": file}))
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        if kept and found:
            shutil.copyfile(file, kept)
        os.chdir("/")
    return code, found


def _fields(wish: Wish) -> dict[str, Any]:
    return {name: getattr(wish, name) for name in Wish.__slots__}


def _short(found: dict[str, Any]) -> dict[str, Any]:
    """The summaries by suite and variant."""
    kept = ("checks", "passed", "precision", "recall", "delay_s", "false_per_hour")
    return {f"{one['suite']}_{one['variant']}": {key: one[key] for key in kept} for one in found.get("summaries", ())}


if __name__ == "__main__":
    raise SystemExit(main())
