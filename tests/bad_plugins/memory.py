"""Bad: keeps 1 KB of every frame, for ever."""

from typing import Any

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame, memory: dict[str, Any]) -> object:
    memory.setdefault("seen", []).append(bytearray(1000))
    return None
