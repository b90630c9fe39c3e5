"""Bad: a default that its own annotation refuses."""

from dataclasses import dataclass

from gateway import Analyzer, Frame, Result, hookimpl


@dataclass(frozen=True)
class Options:
    level: int = "high"  # type: ignore[assignment]


class Bad(Analyzer):
    name = "bad"
    Options = Options

    def analyze(self, frame: Frame, memory: object) -> Result:
        return Result()


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
