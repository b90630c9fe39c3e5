"""Bad: what belongs to one stream is kept for all of them."""

from gateway import Frame, Result, as_analyzer

LAST = {"mean": 0.0}


@as_analyzer()
def bad(frame: Frame) -> object:
    mean = float(frame.scaled(64).mean())
    change, LAST["mean"] = mean - LAST["mean"], mean
    return Result(measures={"change": change})
