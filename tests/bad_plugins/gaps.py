"""Bad: time goes on between two frames, surely."""

from typing import Any

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame, memory: dict[str, Any]) -> object:
    passed = frame.at - memory.get("at", -1.0)
    memory["at"] = frame.at
    return Result(measures={"fps": 1 / passed})
