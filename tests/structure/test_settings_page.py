"""The sample framegate.toml holds every setting with its default, and docs/settings.md is fresh."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from gateway.settings import Settings, load
from tests.structure.settings_page import PAGE, built_in, default_of, leaves, page
from tests.structure.source import ROOT

SAMPLE = ROOT / "framegate.toml"


def test_the_sample_names_every_setting_once() -> None:
    assert sorted(_keys()) == sorted(place for place, _ in leaves() if place != ("analyzers",))


def test_a_key_of_the_sample_is_commented_out_only_where_there_is_no_default_to_show() -> None:
    without = {place for place, field in leaves() if default_of(field) is None}
    assert {place for place, shown in _keys().items() if not shown} == without


def test_the_values_of_the_sample_are_the_defaults() -> None:
    defaults = {place: default_of(field) for place, field in leaves()}
    assert {place: value for place, value in _flat(tomllib.loads(SAMPLE.read_text())) if value != defaults[place]} == {}


def test_the_sample_gives_the_default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FRAMEGATE_") or name in ("PORT", "AUTH_TOKEN", "LOG_LEVEL", "LOG_FILE", "DEBUG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRAMEGATE_CONFIG", "/nowhere")
    defaults = load()
    monkeypatch.setenv("FRAMEGATE_CONFIG", str(SAMPLE))
    assert load() == defaults


def test_every_key_of_the_sample_says_what_it_is() -> None:
    lines = SAMPLE.read_text().partition("[analyzers]")[0].splitlines()
    bare = [line for above, line in pairwise(lines) if _KEY.match(line) and not _COMMENT.match(above)]
    assert bare == []


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.structure.settings_page"


def test_every_setting_and_every_option_has_a_description() -> None:
    assert [place for place, field in leaves() if not field.description] == []
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []


def test_the_built_in_analyzers_are_all_there() -> None:
    assert {cls.name for cls in built_in()} >= {"motion", "objects", "smoking"}


_COMMENT = re.compile(r"^# .+\.$")
_KEY = re.compile(r"^(# )?([a-z][a-z0-9_]*) = ")


def _keys() -> dict[tuple[str, ...], bool]:
    """Settings named in the sample, and whether with a value or behind "# "; the example of an analyzer is left out."""
    found: dict[tuple[str, ...], bool] = {}
    section: tuple[str, ...] = ()
    for line in SAMPLE.read_text().splitlines():
        if header := re.match(r"^(?:# )?\[([a-z_.]+)\]", line):
            section = (header[1],)
        elif (key := _KEY.match(line)) and section != ("analyzers.motion",):
            assert (*section, key[2]) not in found, f"{key[2]} is there twice"
            found[*section, key[2]] = key[1] is None
    return found


def _flat(tree: Mapping[str, Any], place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    sections = {name for name, field in Settings.model_fields.items() if field.default_factory is not None}
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in tree.items():
        if not place and name in sections and isinstance(value, dict):
            found += _flat(value, (name,))
        else:
            found.append(((*place, name), value))
    return found
