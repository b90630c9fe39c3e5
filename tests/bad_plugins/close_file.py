"""Bad: a file of each load stays open."""

from typing import Any

from gateway import Analyzer, Frame, Result, hookimpl

OPEN: list[Any] = []


class Bad(Analyzer):
    name = "bad"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        OPEN.append(open(__file__, "rb"))  # noqa: SIM115

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result()


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
