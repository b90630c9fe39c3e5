"""Bad: a script that was made a plugin."""

import os

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    if frame.seq > 10**6:
        os._exit(3)
    return None
