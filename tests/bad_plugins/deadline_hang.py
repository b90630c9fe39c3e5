"""Bad: waits for an answer that never comes."""

import time

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    if frame.seq == 2 and frame.width == 1280:
        time.sleep(1000)
    return None
