"""Bad: once in a while it writes everything down, which takes its time."""

import time

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    if frame.seq == 9 and frame.width == 1280:
        time.sleep(2.1)
    return None
