"""One decorated function is a whole plugin."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gateway import Box, Detection, Frame, Result, as_analyzer
from gateway.engine.plugins import PluginSpec, load
from gateway.function import analyzers_in
from gateway.testing import analyze

DARK, LIGHT = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 200, np.uint8)
PAGE = Path(__file__).parents[1] / "docs" / "writing-an-analyzer.md"


def only(function: Any) -> Any:
    (cls,) = analyzers_in(SimpleNamespace(function=function))
    return cls


def test_the_five_lines_of_the_tutorial_are_a_plugin(tmp_path: Path) -> None:
    chapter = PAGE.read_text().split("## In five lines")[1]
    (code,) = re.findall(r"```python\n(.*?@as_analyzer.*?)```", chapter, re.DOTALL)
    file = tmp_path / "darkness.py"
    file.write_text(code)
    loaded = load([PluginSpec("darkness", path=str(file))])
    assert (list(loaded.analyzers), loaded.failed) == (["darkness"], {})
    cls, _ = loaded.analyzers["darkness"]
    assert analyze(cls, [DARK, LIGHT]).results == (Result((Detection("dark", 1.0, Box(0, 0, 1, 1)),)), Result())


def test_a_second_parameter_is_the_streams_own_memory() -> None:
    @as_analyzer("counter")
    def count(frame: Frame, memory: dict[str, int]) -> Result:
        memory["seen"] = memory.get("seen", 0) + 1
        return Result(measures={"seen": memory["seen"]})

    first = analyze(only(count), [DARK, DARK]).results
    second = analyze(only(count), [DARK]).results
    assert [result.measures["seen"] for result in (*first, *second)] == [1, 2, 1]


def test_the_decorator_says_what_the_class_would() -> None:
    @as_analyzer(
        "night", title="Night", needs=["objects"], labels=["dark"], event_types=["night.dark"], permissions=["network"]
    )
    def look(frame: Frame) -> np.ndarray[Any, Any]:
        """Rows of an array."""
        return np.array([[0, 0, 64, 48, 0.5, 0]])

    cls = only(look)
    assert (cls.name, cls.title, cls.needs, cls.labels, cls.event_types, cls.permissions) == (
        "night",
        "Night",
        ("objects",),
        ("dark",),
        ("night.dark",),
        ("network",),
    )
    assert analyze(cls, [DARK]).results == (Result((Detection("dark", 0.5, Box(0, 0, 1, 1)),)),)


def test_the_function_stays_a_function() -> None:
    @as_analyzer()
    def same(frame: int) -> int:
        return frame

    assert same(3) == 3


def test_a_function_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must take \(frame\) or \(frame, memory\), not 3 parameters"):

        @as_analyzer()
        def wrong(frame: Frame, memory: dict[str, Any], session: str) -> None: ...
