"""The window child: shows one camera on this machine's screen. One thread does it all, as window systems want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.engine.child import Child

TURN_S = 0.02  # how finely the window system's own events are looked at
QUIT_KEYS = (27, ord("q"))  # Esc


def serve(child: Child) -> None:
    """Open a window, show what comes and say so: `shown` for each picture, `closed` when a person has closed it."""
    import cv2

    title = str(child.receive()[0]["title"])
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:  # an OpenCV without windows, or a display that cannot be reached
        child.send({"t": "failed", "reason": str(error).strip().splitlines()[-1][:200]})
        return
    child.send({"t": "open"})
    sized = False
    while _open(cv2, title):
        if child.spoken_to(TURN_S):
            header, jpeg = child.receive()
            if header["t"] == "bye":
                return
            sized = _show(cv2, title, jpeg, sized)
            child.send({"t": "shown"})
    cv2.destroyAllWindows()
    child.send({"t": "closed"})


def _open(cv2: Any, title: str) -> bool:
    """Let the window system have its turn; whether the window is still there."""
    quits = cv2.waitKey(1) & 0xFF in QUIT_KEYS
    return not quits and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1


def _show(cv2: Any, title: str, jpeg: bytes, sized: bool) -> bool:
    """Whether the window has the size of a picture by now."""
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return sized
    if not sized:
        cv2.resizeWindow(title, picture.shape[1], picture.shape[0])
    cv2.imshow(title, picture)
    return True
