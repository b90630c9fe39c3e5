"""Bad: a thread for every frame, each waiting for the end."""

import threading
from typing import Any

from gateway import Analyzer, Frame, Result, hookimpl


class Bad(Analyzer):
    name = "bad"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._end = threading.Event()

    def analyze(self, frame: Frame, memory: Any) -> Result:
        threading.Thread(target=self._end.wait, daemon=True).start()
        return Result()

    def close(self) -> None:
        self._end.set()


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
