"""Where `plugin dev` takes its pictures from: what `push` reads, a stream of a running gateway, or a drawn scene."""

from __future__ import annotations

import time
from collections.abc import Generator
from urllib.parse import quote

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from gateway.commands.scene import Scene
from gateway.commands.sources import Picture, Source, SourceFailed, Thinner, open_source
from gateway.commands.stream_client import MAX_MESSAGE, Refused, Target
from gateway.protocol import unpack_frame

SCENE_FPS = 12.0
QUIET_S = 2.0  # a followed stream that shows nothing for this long has its last picture shown again


def dev_source(text: str | None, fps: float | None) -> Source:
    """What the author means. Raises `SourceFailed`."""
    if text is None:
        return DrawnScene(fps or SCENE_FPS)
    if "://" not in text:
        return open_source(text, fps=fps, loop=True)
    try:
        target = Target.parse(text)
    except Refused as error:
        raise SourceFailed(str(error)) from None
    if target.stream_id is None:
        raise SourceFailed(f"{text} names no stream; expected http://HOST:PORT/stream/ID")
    return Followed(target, fps)


class DrawnScene:
    """The scene of `framegate demo`, without an end."""

    name, live = "scene", False

    def __init__(self, fps: float) -> None:
        self._fps = fps

    def pictures(self) -> Generator[Picture, None, None]:
        scene, number = Scene(), 0
        while True:
            yield Picture(scene.jpeg(number / self._fps), number / self._fps)
            number += 1


class Followed:
    """The pictures of a stream of another gateway, as its viewers get them."""

    live = True

    def __init__(self, target: Target, fps: float | None) -> None:
        self.name = target.stream_id or ""
        self._target, self._fps = target, fps

    def pictures(self) -> Generator[Picture, None, None]:
        url = self._target.socket_url(f"/ws/stream/{quote(self.name, safe='')}?frames=binary")
        try:
            with connect(url, compression=None, max_size=MAX_MESSAGE) as socket:
                yield from self._follow(socket)
        except (OSError, WebSocketException) as error:
            raise SourceFailed(f"{url}: {error}") from None

    def _follow(self, socket: ClientConnection) -> Generator[Picture, None, None]:
        thinner, began, newest = Thinner(self._fps), time.monotonic(), b""
        while True:
            jpeg = _jpeg(socket)
            newest, at = jpeg or newest, time.monotonic() - began
            if newest and (jpeg is None or thinner.passes(at)):
                yield Picture(newest, at)


def _jpeg(socket: ClientConnection) -> bytes | None:
    """The next picture; None if there was none for a while."""
    deadline = time.monotonic() + QUIET_S
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = socket.recv(timeout=left)
        except TimeoutError:
            break
        if isinstance(message, bytes):
            return unpack_frame(message)[3]
    return None
