"""Bad: loads a model runtime to be asked for its name."""

import onnxruntime  # noqa: F401

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    return None
