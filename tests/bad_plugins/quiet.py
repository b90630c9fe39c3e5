"""Bad manners: a line for every frame."""

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    print("looking at frame", frame.seq)
    return None
