"""Courier: one thread that calls back. A callback that is slow or raises holds up nobody but those behind it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.engine.mailbox import Mailbox

log = logging.getLogger(__name__)

MOST = 256  # deliveries that wait; a camera has one at a time, so there are more only if cameras come and go meanwhile

Events = list[dict[str, Any]]
Callback = Callable[[str, Events], object]


def event_for_callback(wire: Mapping[str, Any]) -> dict[str, Any]:
    """An event as callbacks get it: `type` is what happened; `person_id` and `bag_id` only where there is one."""
    event = {**wire, "type": wire["event_type"]}
    return {key: value for key, value in event.items() if value is not None or key not in ("person_id", "bag_id")}


@dataclass(slots=True)
class Listener:
    """Who is called, and with which phases of events."""

    callback: Callback | None = None
    phases: Collection[str] = ("new",)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events of one camera; `through` is called from the courier's thread when they were heard, or given up."""

    camera_id: str
    events: Events
    through: Callable[[], None]


class Courier:
    """`post` and `close` may be called from any thread; the mailbox is touched under the lock only."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Condition()
        self._waiting: Mailbox[Delivery] = Mailbox(MOST)
        self._thread: threading.Thread | None = None

    async def deliver(self, camera_id: str, events: Events) -> None:
        """Have a camera's events heard; returns when they were, so that it never has more than one delivery waiting."""
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()

        def through() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(heard.set)

        self.post(Delivery(camera_id, events, through))
        await heard.wait()

    def post(self, delivery: Delivery) -> None:
        with self._lock:
            gone = self._waiting.put(delivery)
            if self._thread is None and not self._waiting.closed:
                self._thread = threading.Thread(target=self._run, name="framegate callbacks", daemon=True)
                self._thread.start()
            self._lock.notify()
        if gone is not None:
            gone.through()

    def close(self, within_s: float) -> None:
        """Deliver what waits, for so long at most; afterwards nobody is called any more. A callback may call this."""
        with self._lock:
            self._waiting.close()
            self._lock.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(within_s)
            with self._lock:
                while (left := self._waiting.take()) is not None:
                    log.warning("camera %s: %d events were not heard in time", left.camera_id, len(left.events))

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            self._call(delivery)
            delivery.through()

    def _next(self) -> Delivery | None:
        with self._lock:
            while not len(self._waiting) and not self._waiting.closed:
                self._lock.wait()
            return self._waiting.take()

    def _call(self, delivery: Delivery) -> None:
        callback = self._listener.callback
        if callback is None:
            return
        try:
            callback(delivery.camera_id, delivery.events)
        except (Exception, SystemExit):
            log.exception("camera %s: the event callback failed", delivery.camera_id)
