"""ServiceCamera: one camera of a service on the runtime's loop: its session, who pulls it, who hears of its events."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.connectors.pull import Pull
from gateway.engine.hub import Hub
from gateway.engine.mailbox import Closed
from gateway.engine.picture import Variant
from gateway.engine.request import SessionRequest
from gateway.engine.session import COUNTS, Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import AtCapacity, BadSource, GatewayError, NoPicture, SessionEnded
from gateway.media.messages import Wish
from gateway.media.sources import Source
from gateway.service_courier import Courier, Delivery, Events, Listener, event_for_callback
from gateway.service_preview import preview
from gateway.service_runtime import Device, Runtime
from gateway.service_window import show
from gateway.settings import Settings

log = logging.getLogger(__name__)

RETRY_S = 2.0  # after a session that could not be opened, or broke
OPEN_S = 10.0  # how long the preview waits for the first session
COUNTED = tuple(key for keys in COUNTS.values() for key in keys)  # faces, ids, bags, owned


@dataclass(frozen=True, slots=True)
class Post:
    """Where a camera's events go."""

    courier: Courier
    listener: Listener


@dataclass(frozen=True, slots=True)
class Order:
    """What a camera is to be: its source, what looks at it, where it is shown."""

    camera_id: str
    session_id: str
    source: Source = field(repr=False)
    device: Device
    request: SessionRequest
    listener: socket.socket | None = None
    window: bool = False


class WatchedPull(Pull):
    """Pictures are wanted even where no analyzer looks: the script may ask for one."""

    def __init__(self, session: Session, source: Source, hub: Hub) -> None:
        super().__init__(session, source, pool=hub.media, clock=hub.clock)

    def wish(self, number: int) -> Wish | None:
        wish = super().wish(number)
        if wish is None or wish.wanted:
            return wish
        return replace(wish, wanted=True)


class ServiceCamera:
    """`run` is all of its life. The rest may be called on the loop at any time."""

    def __init__(self, order: Order, post: Post, settings: Settings) -> None:
        self.order = order
        self._post = post
        self._settings = settings
        self._session: Session | None = None
        self._opened = asyncio.Event()
        self._over = asyncio.Event()
        self._gone = asyncio.Event()
        self._problem: GatewayError | None = None
        self._failed = False
        self._lost_events = 0

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self, runtime: Runtime) -> None:
        """Until `end`, or the runtime's end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._end_with(runtime))
                try:
                    await self._live(runtime, tasks)
                finally:
                    ending.cancel()
        except* Exception:  # a defect of ours costs this camera, not the others
            log.exception("camera %s: broke", self.order.camera_id)
            self._fail(AtCapacity("this is our bug; the log has it", code="internal"))
        finally:
            self.never()

    def never(self) -> None:
        """Nothing of it is left, or it was never begun."""
        if self.order.listener is not None:
            self.order.listener.close()
        self._gone.set()

    def end(self) -> None:
        self._over.set()
        if self._session is not None:
            self._session.end("stopped")

    async def gone(self) -> None:
        """Wait until nothing of it is left."""
        await self._gone.wait()

    async def _end_with(self, runtime: Runtime) -> None:
        await runtime.over()
        self.end()

    async def _live(self, runtime: Runtime, tasks: asyncio.TaskGroup) -> None:
        serving: asyncio.Task[None] | None = None
        server = None
        while not self._over.is_set():
            try:
                hub = await runtime.hub(self.order.device)
                if server is None and self.order.listener is not None:
                    server = preview(self.order.camera_id, hub, self._settings, self._session_soon)
                    serving = tasks.create_task(server.serve(sockets=[self.order.listener]))
                await self._check_connector(hub)
                session = await hub.open_session(self.order.request)
            except GatewayError as error:
                await self._wait_after(error)
            else:
                await self._with(session, hub)
        if server is not None and serving is not None:
            server.should_exit = True
            await serving

    async def _check_connector(self, hub: Hub) -> None:
        """Raises `BadSource` if no plugin reads its source, and `AtCapacity` while one may still come."""
        await hub.introduced()
        if (reader := self.order.source.connector) and reader not in hub.connectors():
            raise hub.unless_early(BadSource(f"no connector reads {reader}:", code="source_scheme"))

    async def _wait_after(self, error: GatewayError) -> None:
        """Nothing but the lack of room passes by itself: an analyzer or option there is not stays wrong."""
        first = self._problem is None
        self._problem = error
        if not isinstance(error, AtCapacity):
            self._fail(error)
            await self._over.wait()
            return
        if first:
            log.warning("camera %s: %s; tried again in %g s", self.order.camera_id, error.detail, RETRY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._over.wait()

    def _fail(self, error: GatewayError) -> None:
        self._problem, self._failed = error, True
        log.error("camera %s: %s", self.order.camera_id, error.detail)

    async def _with(self, session: Session, hub: Hub) -> None:
        """A session from its opening to its end, whatever ends it."""
        session.session_id = self.order.session_id
        session.lease.join()
        subscriber = Subscriber(messages=self._settings.stream.viewer_messages, topics=("events",))
        session.audience.subscribe(subscriber)
        session.camera = WatchedPull(session, self.order.source, hub)
        session.camera.start()
        self._session, self._problem = session, None
        self._opened.set()
        if self._over.is_set():  # while it was opened
            session.end("stopped")
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell(subscriber))
            window = tasks.create_task(show(session, self.order.camera_id)) if self.order.window else None
            await session.gone.wait()
            telling.cancel()
            if window is not None:
                window.cancel()
        self._say_last(subscriber)
        if not self._over.is_set():
            await self._wait_after(AtCapacity(f"its stream ended by itself: {session.reason}"))

    async def _session_soon(self) -> Session:
        """Raises `NoPicture` if there is none, and none comes."""
        try:
            async with asyncio.timeout(OPEN_S):
                await self._opened.wait()
        except TimeoutError:
            raise NoPicture("the camera has not begun yet", code="starting", retry_after_s=1) from None
        if self._session is None or self._session.reason is not None:
            raise NoPicture("the camera begins anew", code="starting", retry_after_s=1)
        return self._session

    # --- events ------------------------------------------------------------------------------------------------------

    async def _tell(self, subscriber: Subscriber) -> None:
        """Hand over events as they come; while a callback is slow, those behind wait in the subscriber's mailbox."""
        with suppress(Closed):
            while True:
                item = await subscriber.next()
                texts = [item] if isinstance(item, str) else []
                events = self._events([*texts, *subscriber.take_messages()])
                if events:
                    await self._post.courier.deliver(self.order.camera_id, events)
                self._lost_events = subscriber.dropped["messages"]

    def _say_last(self, subscriber: Subscriber) -> None:
        """What the end of the session brought; nobody waits for its being heard."""
        if events := self._events(subscriber.take_messages()):
            self._post.courier.post(Delivery(self.order.camera_id, events, lambda: None))

    def _events(self, texts: list[str]) -> Events:
        phases = self._post.listener.phases if self._post.listener.callback is not None else ()
        said = (json.loads(text) for text in texts)
        return [
            {**event_for_callback(wire), "session_id": self.order.session_id}
            for wire in said
            if wire["type"] == "event" and wire["phase"] in phases
        ]

    # --- what is asked -----------------------------------------------------------------------------------------------

    async def jpeg(self, *, draw: bool) -> bytes | None:
        """Its newest picture."""
        if self._session is None:
            return None
        try:
            return (await self._session.snapshot(Variant(draw=draw, upright=True)))[1]
        except (NoPicture, SessionEnded):
            return None

    async def stats(self) -> dict[str, Any]:
        session, order = self._session, self.order
        return {
            "camera_id": order.camera_id,
            **dict.fromkeys(COUNTED, 0),
            "session_id": order.session_id,
            **self._state(),
            **(_of_session(session) if session is not None else _NOTHING_YET),
            "events_lost": self._lost_events,
            "preview_url": self._preview_url(),
        }

    def _state(self) -> Mapping[str, Any]:
        """`state` in one word; `error` is a sentence while there is something wrong, `error_code` its word."""
        if self._problem is not None:
            state = "failed" if self._failed else "waiting"
            return {"state": state, "error": self._problem.detail, "error_code": self._problem.code}
        camera = self._session.camera if self._session is not None else None
        if camera is None:
            return {"state": "starting", "error": None, "error_code": None}
        told = camera.describe()
        error = told["error"] or {}
        return {"state": told["state"], "error": error.get("detail"), "error_code": error.get("code")}

    def _preview_url(self) -> str | None:
        listener = self.order.listener
        if listener is None or listener.fileno() < 0:
            return None
        host, port = listener.getsockname()[:2]
        return f"http://{host}:{port}/"


_NOTHING_YET: Mapping[str, Any] = {
    **dict.fromkeys(("frames", "fps_in", "fps_analyzed"), 0),
    **dict.fromkeys(("width", "height", "source")),
    **{key: {} for key in ("dropped", "analyzers", "measures")},
}


def _of_session(session: Session) -> dict[str, Any]:
    status = session.status()
    with_picture = {"measures": {}} if session.latest is None else session.measures()
    return {
        **with_picture,
        "frames": status["frames_in"],
        "fps_in": status["fps_in"],
        "fps_analyzed": status["fps_analyzed"],
        "width": status["width"],
        "height": status["height"],
        "dropped": status["dropped"],
        "analyzers": {stage["name"]: stage["state"] for stage in status["analyzers"]},
        "source": (status["camera"] or {}).get("source"),
    }
