"""Bad: gives the results of a batch in another order."""

from collections.abc import Sequence
from typing import Any

from gateway import Analyzer, Frame, Result, hookimpl


class Bad(Analyzer):
    name = "bad"
    batch = 4

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result(measures={"mean": float(frame.scaled(64).mean()), "width": frame.width})

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[Any]) -> Sequence[Result]:
        return [self.analyze(frame, memory) for frame, memory in zip(frames, memories, strict=True)][::-1]


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
