"""The WebRTC side of a media child as its main thread sees it: a thread that loads aiortc and runs an asyncio loop.

Loading takes longer than a ping may, so that orders wait in the loop meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

from gateway.media.messages import Counters, Hangup, Meet, Say, Setup, Show, Trickle, Wish
from gateway.media.rtc_outbox import Outbox, Send

if TYPE_CHECKING:
    from gateway.media.rtc_peers import Peers

log = logging.getLogger(__name__)

BEAT_S = 0.5
STUCK_S = 10.0  # a loop that has not turned for so long hangs in native code

RtcOrder = Meet | Trickle | Hangup | Wish | Say


class Rtc:
    """Every peer of this child. Called by the main thread."""

    def __init__(self, setup: Setup, send: Send) -> None:
        self._setup = setup
        self._outbox = Outbox(send)
        self._peers: Peers | None = None
        self._loop = asyncio.new_event_loop()
        self._beat = float("inf")
        Thread(target=self._run, name="webrtc", daemon=True).start()

    def obey(self, said: RtcOrder) -> None:
        self._loop.call_soon_threadsafe(self._obey, said)

    def show(self, said: Show, jpeg: bytes) -> None:
        self._loop.call_soon_threadsafe(self._show, said, jpeg)

    def counters(self) -> dict[int, Counters]:
        return self._peers.counters() if self._peers else {}

    def stuck(self) -> tuple[int, ...]:
        """All of its peers, if the loop hangs."""
        return tuple(self.counters()) if time.monotonic() - self._beat > STUCK_S else ()

    def leave(self, within_s: float) -> None:
        """Say goodbye to everybody, as far as it can be done in this time."""
        if self._peers is not None:
            self._loop.call_soon_threadsafe(self._peers.end_all)
            self._peers.nobody.wait(within_s)

    # --- the loop's thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_unexpected)
        try:
            from gateway.media.rtc_peers import Peers

            self._peers = Peers(self._setup, self._outbox)
            self._keep_beating()
            self._loop.run_forever()
        except Exception:
            log.critical("webrtc: leaving", exc_info=True)
            os._exit(70)

    def _keep_beating(self) -> None:
        self._beat = time.monotonic()
        self._loop.call_later(BEAT_S, self._keep_beating)

    def _obey(self, said: RtcOrder) -> None:
        assert self._peers is not None
        self._peers.obey(said)

    def _show(self, said: Show, jpeg: bytes) -> None:
        assert self._peers is not None
        self._peers.show(said, jpeg)


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task expected. It is a defect, and nobody's end."""
    log.error("webrtc: %s", context.get("message"), exc_info=context.get("exception"))
