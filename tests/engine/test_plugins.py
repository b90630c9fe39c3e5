"""Plugins: found, imported, asked for their analyzers; one that is broken hurts nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engine.plugins import Manifest, PluginSpec, discover, load, manifest_json

GOOD = """
from dataclasses import dataclass
from gateway import Analyzer, Result, hookimpl

@dataclass(frozen=True)
class Options:
    threshold: float = 0.5

class {Name}(Analyzer):
    \"\"\"Says how wide the picture is.

    And more.
    \"\"\"
    name = "{name}"
    needs = ("objects",)
    labels = ("wide",)
    Options = Options
    def analyze(self, frame, memory):
        return Result(measures={{"width": frame.width}})

@hookimpl
def register_analyzers():
    return [{Name}]
"""
BARE = "class A(Analyzer):\n    name = 'a'\n    def analyze(self, frame, memory): return Result()\n"
HEAD = "from gateway import Analyzer, Result, hookimpl\n"
LOCKED = "from dataclasses import dataclass\nimport threading\n@dataclass\nclass O:\n    lock: threading.Lock = None\n"
HOOK = "@hookimpl\ndef register_analyzers(): return [A]\n"


def plugin(folder: Path, name: str, source: str) -> PluginSpec:
    path = folder / f"{name}.py"
    path.write_text(source)
    return PluginSpec(name, path=str(path), version="file")


def good(folder: Path, name: str) -> PluginSpec:
    return plugin(folder, name, GOOD.format(name=name, Name=name.title()))


def test_a_good_plugin_says_what_it_brings(tmp_path: Path) -> None:
    loaded = load([good(tmp_path, "width")])
    about = loaded.manifests["width"]
    assert loaded.failed == {}
    assert (about.title, about.needs, about.labels) == ("Says how wide the picture is.", ("objects",), ("wide",))
    assert about.options["properties"]["threshold"]["default"] == 0.5


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise RuntimeError('import me not')", "import me not"),
        ("import sys; sys.exit('usage: ...')", "SystemExit"),
        ("def (", "SyntaxError"),
        (HEAD + BARE + HOOK.replace("register_analyzers", "register_analysers"), "unknown hook 'register_analysers'"),
        (HEAD + BARE.replace("'a'", "'A!'") + HOOK, "A.name must be lower-case letters"),
        (HEAD + BARE + HOOK.replace("[A]", "A"), "not iterable"),
        (HEAD + BARE + HOOK.replace("[A]", "[3]"), "int"),
        (HEAD + BARE + "    needs = 'objects'\n" + HOOK, "needs must be a tuple of names"),
        (
            HEAD + LOCKED + BARE + "    Options = O\n" + HOOK,
            "PydanticSchemaGenerationError",
        ),
    ],
    ids=[
        *("no module", "raises", "exits", "syntax", "misspelt hook", "bad name", "no list", "no class"),
        *("needs a string", "options without a schema"),
    ],
)
def test_a_broken_plugin_is_reported_with_its_traceback_and_hurts_nobody(
    tmp_path: Path, source: str, complaint: str
) -> None:
    loaded = load([plugin(tmp_path, "bad", source), good(tmp_path, "width")])
    assert list(loaded.analyzers) == list(loaded.manifests) == ["width"]
    assert list(loaded.failed) == ["bad"]
    assert loaded.failed["bad"].startswith("Traceback")
    assert complaint in loaded.failed["bad"]


def test_of_two_with_one_name_the_first_is_used_and_the_second_is_told_by_whom(tmp_path: Path) -> None:
    one, two = good(tmp_path, "width"), plugin(tmp_path, "other", GOOD.format(name="width", Name="Other"))
    loaded = load([one, two])
    assert loaded.analyzers["width"][1] == one
    assert f"two analyzers are called width: plugin width of {one.path} and plugin other" in loaded.failed["other"]


def test_built_ins_come_through_the_same_door() -> None:
    specs = {spec.name: spec for spec in discover()}
    assert {"motion", "objects", "smoking"} <= specs.keys()
    assert {specs[name].distribution for name in ("motion", "objects", "smoking")} == {"framegate"}


def test_a_plugin_can_be_switched_off_and_a_file_added(tmp_path: Path) -> None:
    spec = good(tmp_path, "width")
    found = discover([spec.path], off=["smoking"])
    assert "smoking" not in [each.name for each in found]
    assert found[-1] == spec


def test_built_ins_share_a_worker_and_every_file_has_its_own(tmp_path: Path) -> None:
    groups = [spec.group for spec in discover([str(tmp_path / "a.py"), str(tmp_path / "b.py")])]
    assert groups.count("framegate") >= 3
    assert groups[-2:] == [str(tmp_path / "a.py"), str(tmp_path / "b.py")]


def test_a_manifest_survives_the_wire(tmp_path: Path) -> None:
    import json

    about = load([good(tmp_path, "width")]).manifests["width"]
    assert Manifest.from_json(json.loads(json.dumps(manifest_json(about)))) == about
