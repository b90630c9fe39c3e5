"""Bad: keeps a line about every frame, for ever."""

from typing import Any

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame, memory: dict[str, Any]) -> object:
    memory.setdefault("seen", []).append({"seq": frame.seq, "text": f"frame {frame.seq} at {frame.at:.3f} s" * 20})
    return None
