"""Bad: a stream's pictures are all of one size, surely."""

from typing import Any

import cv2

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame, memory: dict[str, Any]) -> object:
    picture = frame.to_bgr()
    before = memory.get("before", picture)
    memory["before"] = picture
    return Result(measures={"change": float(cv2.absdiff(picture, before).mean())})
