"""Bad: makes everybody wait at import."""

import time

from gateway import Frame, as_analyzer

time.sleep(1.1)


@as_analyzer()
def bad(frame: Frame) -> object:
    return None
