"""Windows: a camera of a service on this machine's screen, drawn by a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from importlib.util import find_spec

from gateway.engine.environment import PASSED_ON, PASSED_PREFIXES
from gateway.engine.mailbox import Closed
from gateway.engine.picture import Picture, Variant
from gateway.engine.process import ChildProcess, WorkerDied
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import GatewayError, WindowFailed

log = logging.getLogger(__name__)

SCREEN = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE", "DBUS_SESSION_BUS_ADDRESS")
SCREEN_PREFIXES = ("QT_", "GDK_")
NICE = 0  # somebody looks at it


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Whether a window can be opened here, as far as can be seen without trying. Raises `WindowFailed`.

    Of two OpenCV packages whichever came last is there, and an OpenCV of the system's has no package: trying will tell.
    """
    if sys.platform == "linux" and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        raise WindowFailed(
            "render_enabled needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; watch the camera with"
            " preview_port instead"
        )
    found = {name for distribution in distributions() if "opencv" in (name := str(distribution.name).lower())}
    if (found and all(name.endswith("-headless") for name in found)) or find_spec("cv2") is None:
        raise WindowFailed(
            f"render_enabled needs an OpenCV with windows, and {', '.join(sorted(found)) or 'none'} is installed; put"
            " opencv-python in its place, or watch the camera with preview_port"
        )


async def show(session: Session, title: str) -> None:
    """Show a session until it ends or somebody closes the window. A window that fails costs the camera nothing."""
    subscriber = Subscriber(messages=1, topics=(), fill=True)
    child = ChildProcess("window", environment=_environment(), nice=NICE, name=f"window of {title}")
    try:
        session.watch(subscriber, Variant(draw=True, upright=True))
        await _follow(child, subscriber, title)
    except (WorkerDied, GatewayError) as error:
        log.warning("camera %s: its window is gone: %s", title, error)
    except Closed:
        pass
    finally:
        session.audience.leave(subscriber)
        await child.close({"t": "bye"})


async def _follow(child: ChildProcess, subscriber: Subscriber, title: str) -> None:
    """Raises `WorkerDied`, and `Closed` at the session's end."""
    await child.start()
    child.send({"t": "open", "title": title})
    answer, _ = await child.receive()
    if answer["t"] == "failed":
        raise WorkerDied(str(answer.get("reason")))
    while answer["t"] != "closed":
        picture = await subscriber.next()
        if isinstance(picture, Picture):
            child.send({"t": "show"}, picture.jpeg)
            answer, _ = await child.receive()
    log.info("camera %s: its window was closed", title)


def _environment() -> dict[str, str]:
    return {
        key: value
        for key, value in os.environ.items()
        if key in (*PASSED_ON, *SCREEN) or key.startswith((*PASSED_PREFIXES, *SCREEN_PREFIXES))
    }
