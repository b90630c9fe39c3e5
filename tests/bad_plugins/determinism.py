"""Bad: rolls dice."""

import random

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    return Result(measures={"luck": random.random()})
