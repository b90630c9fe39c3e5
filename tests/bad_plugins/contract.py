"""Bad: reports a label that it does not declare."""

from gateway import Box, Detection, Frame, as_analyzer


@as_analyzer(labels=("cat",))
def bad(frame: Frame) -> object:
    return Detection("dog", 1.0, Box(0, 0, 1, 1))
