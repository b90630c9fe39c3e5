"""Audience: everybody who watches one session, and the forms of its pictures that they share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from gateway.engine.picture import Outlet, Overlay, Painter, Picture, RedrawnOutlet, Variant
from gateway.engine.subscriber import Subscriber
from gateway.errors import AtCapacity
from gateway.frame import Frame
from gateway.protocol import CLOSE_OVERLOADED, Topic

RAW = Variant()
LOOK_SHARE = 0.05  # of the time after which a viewer counts as stalled: how finely that is looked at


class Audience:
    """Subscribers to messages, and outlets of pictures with their viewers. A subscriber may be both."""

    def __init__(self, painter: Painter, *, most: int) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        self.backdrop: Overlay = {}  # what is drawn on every frame, whatever is found in it
        self._painter = painter
        self._most = most
        self._subscribers: set[Subscriber] = set()
        self._raw = Outlet()
        self._redrawn: dict[Variant, RedrawnOutlet] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._lost: Counter[str] = Counter()  # by those who have left
        self._look_again_at = float("-inf")

    def __len__(self) -> int:
        return len(self._everybody())

    def _everybody(self) -> set[Subscriber]:
        return self._subscribers.union(self._raw.viewers, *(outlet.viewers for outlet in self._redrawn.values()))

    def without(self, token: str | None) -> int:
        """How many there are but for those whose token this is."""
        return sum(token not in subscriber.tokens for subscriber in self._everybody())

    def picture_viewers(self) -> set[Subscriber]:
        """Who gets pictures, by whatever transport."""
        return self._raw.viewers.union(*(outlet.viewers for outlet in self._redrawn.values()))

    def dropped(self) -> Counter[str]:
        """What slow viewers lost."""
        lost = self._lost.copy()
        for subscriber in self._everybody():
            lost.update(subscriber.dropped)
        return lost

    # --- coming and going --------------------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> None:
        """Send it messages. Raises `AtCapacity` when the stream has its most viewers."""
        self._admit(subscriber)
        self._subscribers.add(subscriber)

    def watch(self, subscriber: Subscriber, variant: Variant, latest: Frame | None) -> None:
        """Send it pictures of this form, beginning with the newest there is. Raises `AtCapacity`."""
        self._admit(subscriber)
        outlet = self._outlet(variant)
        first = not outlet.viewers
        outlet.viewers.add(subscriber)
        if latest is not None and variant.leaves(latest):
            outlet.latest = Picture(latest, latest.jpeg)
            subscriber.put_picture(outlet.latest)
        elif outlet.latest is not None:
            subscriber.put_picture(outlet.latest)
        elif latest is not None and first:  # for later ones it is on its way
            outlet.put(latest, {})

    def _admit(self, subscriber: Subscriber) -> None:
        everybody = self._everybody()
        if subscriber not in everybody and len(everybody) >= self._most:
            raise AtCapacity("this stream has as many viewers as it may", code="viewer_limit", retry_after_s=5)

    def _outlet(self, variant: Variant) -> Outlet:
        if variant.raw:
            return self._raw
        if variant not in self._redrawn:
            outlet = self._redrawn[variant] = RedrawnOutlet(variant, self._painter)
            self.spawn(outlet.run())
        return self._redrawn[variant]

    def unwatch(self, subscriber: Subscriber) -> None:
        """No pictures any more; a form nobody watches is no longer made."""
        self._raw.viewers.discard(subscriber)
        for variant, outlet in list(self._redrawn.items()):
            outlet.viewers.discard(subscriber)
            if not outlet.viewers:
                outlet.close()
                del self._redrawn[variant]

    def leave(self, subscriber: Subscriber) -> None:
        """Neither messages nor pictures any more; what it lost stays counted."""
        if subscriber in self._everybody():
            self._lost.update(subscriber.dropped)
        self._subscribers.discard(subscriber)
        self.unwatch(subscriber)

    # --- what they get -----------------------------------------------------------------------------------------------

    def listens(self, topic: Topic) -> bool:
        """Whether anybody wants this topic: what nobody wants need not be put into words."""
        return any(topic in subscriber.topics for subscriber in self._subscribers)

    def send(self, topic: Topic, text: str, *, but: Subscriber | None = None) -> None:
        """One text, serialised once, to all who want the topic."""
        for subscriber in self._subscribers:
            if subscriber is not but and topic in subscriber.topics:
                subscriber.put_message(text)

    def show(self, frame: Frame, *, undrawn: bool) -> None:
        """A new frame. Forms that are drawn on wait for the results, unless there will be none (`undrawn`)."""
        if self._raw.viewers:
            self._raw.put(frame, {})
        for variant, outlet in self._redrawn.items():
            if undrawn or not variant.overlaid:
                outlet.put(frame, self.backdrop)

    def made(self, frame: Frame, variant: Variant) -> bytes | None:
        """A frame in a form that was made for viewers already."""
        outlet = self._redrawn.get(variant)
        shown = outlet.latest if outlet is not None else None
        return shown.jpeg if shown is not None and shown.frame is frame else None

    @property
    def draws(self) -> bool:
        return any(variant.overlaid for variant in self._redrawn)

    def draw(self, frame: Frame, overlay: Overlay) -> None:
        """A frame whose results are known: for the forms that are drawn on."""
        for variant, outlet in self._redrawn.items():
            if variant.overlaid:
                outlet.put(frame, overlay)

    def cut_stalled(self, now: float, stall_s: float) -> None:
        """Reset who has taken nothing of what waits for him for `stall_s`. Closing politely would wait for ever."""
        if now < self._look_again_at:
            return
        self._look_again_at = now + stall_s * LOOK_SHARE
        for subscriber in self._everybody():
            if subscriber.stalled(now, stall_s):
                subscriber.close(CLOSE_OVERLOADED, "stalled")
                subscriber.cut()

    def idle(self, now: float, after_s: float) -> list[Subscriber]:
        """Picture viewers with nothing new to look at who want to be shown something all the same."""
        return [s for s in self._everybody() if s.fill and now - s.shown_at > after_s]

    def show_again(self, viewer: Subscriber, slate: Picture | None, now: float) -> None:
        """The slate if there is one, else the newest picture of each form it watches."""
        viewer.shown_at = now  # even if it is busy: what it does not take now is no loss
        for outlet in [self._raw, *self._redrawn.values()]:
            if viewer in outlet.viewers and (picture := slate or outlet.latest) is not None:
                viewer.put_picture(picture)

    def close(self, code: int, reason: str, last_words: str) -> None:
        for subscriber in self._everybody():
            subscriber.close(code, reason, last_words=last_words)
        for outlet in self._redrawn.values():
            outlet.close()
        for job in self._jobs:  # nothing they make could be shown any more
            job.cancel()

    def cut_later(self, after_s: float) -> None:
        """Reset who has not taken his last words by then; nobody looks after him any more."""
        for subscriber in self._everybody():
            asyncio.get_running_loop().call_later(after_s, subscriber.cut)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside, until the session ends."""
        if self.tasks is None:
            raise AssertionError("a session is watched only while it lives")
        job = self.tasks.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
