"""Bad: an event type that any plugin might have."""

from gateway import Frame, as_analyzer


@as_analyzer(event_types=("fall",))
def bad(frame: Frame) -> object:
    return None
