"""Bad: the order in which a set happens to be."""

from gateway import Box, Detection, Frame, Result, as_analyzer

COLOURS = {"red", "green", "blue", "yellow"}


@as_analyzer(labels=tuple(sorted(COLOURS)))
def bad(frame: Frame) -> object:
    return Result((Detection(next(iter(COLOURS)), 1.0, Box(0, 0, 1, 1)),))
