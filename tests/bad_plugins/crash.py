"""Bad: takes its process along when the picture is grey."""

import ctypes

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    if frame.width == 3:
        ctypes.string_at(0)
    return None
