"""The shortest plugin: one decorated function in a file.

    from gateway import Box, Detection, as_analyzer

    @as_analyzer()
    def darkness(frame):
        return Detection("dark", 1.0, Box(0, 0, 1, 1)) if frame.scaled(64).mean() < 40 else None

The host makes the class around it. What the function returns may be anything `gateway.convert` knows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gateway.analyzer import Analyzer
from gateway.convert import to_result
from gateway.frame import Frame
from gateway.results import Result

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "framegate_analyzer"


def as_analyzer(
    name: str | None = None,
    *,
    title: str = "",
    needs: Iterable[str] = (),
    labels: Iterable[str] = (),
    event_types: Iterable[str] = (),
    permissions: Iterable[str] = (),
) -> Callable[[F], F]:
    """Make a function `f(frame)` or `f(frame, memory)` an analyzer; it stays callable as it is.

    `name` is the function's own unless given. `memory` is a dict per session, empty at its first frame. Raises
    `TypeError` for a function that takes anything else.
    """

    def mark(function: F) -> F:
        count = len(inspect.signature(function).parameters)
        if count not in (1, 2):
            raise TypeError(f"{function.__qualname__} must take (frame) or (frame, memory), not {count} parameters")

        class FunctionAnalyzer(Analyzer):
            def analyze(self, frame: Frame, memory: Any) -> Result:
                seen = function(frame, memory) if count == 2 else function(frame)
                return to_result(seen, frame, self.labels)

        FunctionAnalyzer.__qualname__ = FunctionAnalyzer.__name__ = function.__name__
        FunctionAnalyzer.__doc__ = function.__doc__
        FunctionAnalyzer.name = name or function.__name__
        FunctionAnalyzer.title = title
        FunctionAnalyzer.needs = tuple(needs)
        FunctionAnalyzer.labels = tuple(labels)
        FunctionAnalyzer.event_types = tuple(event_types)
        FunctionAnalyzer.permissions = tuple(permissions)
        setattr(function, _MARK, FunctionAnalyzer)
        return function

    return mark


def analyzers_in(module: object) -> list[type[Analyzer]]:
    """The analyzers of a module's decorated functions, in the order they stand there."""
    return [getattr(item, _MARK) for item in vars(module).values() if inspect.isfunction(item) and hasattr(item, _MARK)]
