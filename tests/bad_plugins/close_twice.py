"""Bad: closes what it has closed already."""

from typing import Any

from gateway import Analyzer, Frame, Result, hookimpl


class Bad(Analyzer):
    name = "bad"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._model: bytes | None = b"model"

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result()

    def close(self) -> None:
        if self._model is None:
            raise RuntimeError("there is no model any more")
        self._model = None


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
