"""Bad: its watcher is never told that it is over."""

import threading
from typing import Any

from gateway import Analyzer, Frame, Result, hookimpl


class Bad(Analyzer):
    name = "bad"

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result()


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [Bad]
