"""Audience: who watches a session, what a slow one loses, and which pictures are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.engine.picture import Variant
from gateway.engine.subscriber import Subscriber
from gateway.errors import GatewayError, NoPicture
from gateway.results import Result
from tests.clock import now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakePainter,
    FakePublisher,
    FakeWorker,
    engine,
    heard,
    jpeg,
    listener,
    play,
    seen,
    sees,
    stream,
)

BOXES = Variant(draw=True)
SMALL = Variant(width=320)


@simulated
async def test_a_slow_viewer_loses_the_oldest_counted_and_the_others_lose_nothing() -> None:
    async with engine(FakeWorker(FakeAnalyzer("quick"))) as hub:
        session = await stream(hub, "quick")
        slow, fast = listener(session, messages=8, topics=("results",)), listener(session, topics=("results",))
        await play(session, fps=10, seconds=10)
        assert [result["seq"] for result in await heard(slow)] == list(range(92, 100))
        assert [result["seq"] for result in await heard(fast)] == list(range(100))
        assert session.dropped()["viewers"] == {"messages": 92}


@dataclass
class FakePeer:
    """The other end of a connection: `taken` is what it acknowledged so far, None while it owes nothing."""

    taken: int | None = 0
    resets: list[float] = field(default_factory=list)

    def progress(self) -> int | None:
        return self.taken

    def reset(self) -> None:
        self.resets.append(now())
        self.taken = None


@simulated
async def test_a_viewer_that_takes_nothing_for_10_s_is_reset() -> None:
    async with engine() as hub:
        session, stuck, idle = await stream(hub), FakePeer(), FakePeer(None)
        viewer, patient = listener(session, peer=stuck), listener(session, peer=idle)
        session.changed.set()
        began = now()
        await asyncio.sleep(13)
        assert [moment - began for moment in stuck.resets] == [pytest.approx(11, abs=1)]
        assert (viewer.farewell, patient.farewell) == ((1013, "stalled"), None)
        assert idle.resets == []


@simulated
async def test_a_viewer_that_takes_a_byte_now_and_then_is_never_reset() -> None:
    async with engine() as hub:
        session, slow = await stream(hub), FakePeer()
        viewer = listener(session, peer=slow)
        for _ in range(60):
            await asyncio.sleep(9)
            slow.taken = (slow.taken or 0) + 1
        assert (slow.resets, viewer.farewell) == ([], None)


@simulated
async def test_pictures_a_resting_viewer_did_not_ask_for_are_no_loss() -> None:
    async with engine() as hub:
        session, thin, slow = await stream(hub), Subscriber(messages=1), Subscriber(messages=1)
        session.watch(thin)
        session.watch(slow)
        thin.resting = True
        await play(session, fps=10, seconds=1)
        assert (thin.dropped, slow.dropped) == ({"messages": 0, "pictures": 0}, {"messages": 0, "pictures": 9})
        thin.close()
        thin.put_picture((await seen(slow))[0])
        assert thin.dropped == {"messages": 0, "pictures": 0}


@simulated
async def test_a_picture_is_redrawn_once_whatever_the_number_of_viewers() -> None:
    painter = FakePainter()
    async with engine(FakeWorker(FakeAnalyzer("motion")), painter=painter) as hub:
        session = await stream(hub, "motion")
        for number in range(30):
            session.watch(Subscriber(messages=1), BOXES if number % 2 else SMALL)
        await play(session, fps=10, seconds=3)
    by_variant = [[seq for seq, variant, _ in painter.redrawn if variant == wanted] for wanted in (BOXES, SMALL)]
    assert by_variant == [list(range(30))] * 2


@simulated
async def test_a_slow_painter_gets_the_newest_frame() -> None:
    painter = FakePainter(paint_s=0.97)
    async with engine(painter=painter) as hub:
        session = await stream(hub)
        session.watch(Subscriber(messages=1), SMALL)
        await play(session, fps=10, seconds=5)
    assert [seq for seq, _, _ in painter.redrawn] == [0, 9, 19, 29, 38, 48]


@simulated
async def test_what_nobody_watches_any_more_is_not_made() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub), Subscriber(messages=1)
        session.watch(viewer, SMALL)
        await play(session, fps=10, seconds=1)
        session.audience.leave(viewer)
        made = painter.encodes
        await play(session, fps=10, seconds=1)
        assert (made, painter.encodes) == (10, 10)


@simulated
async def test_boxes_are_those_of_the_very_frame() -> None:
    painter = FakePainter()

    def look(job: dict[str, Any]) -> Result:
        return Result(measures={"seq": job["frame"]["seq"]})

    async with engine(FakeWorker(FakeAnalyzer("objects", 0.05, look=look)), painter=painter) as hub:
        session = await stream(hub, "objects")
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=10, seconds=1)
    assert [overlay["objects"]["measures"] for _, _, overlay in painter.redrawn] == [{"seq": seq} for seq in range(10)]


@simulated
async def test_a_stream_without_analyzers_shows_its_pictures_undrawn() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session = await stream(hub)
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=10, seconds=1)
    assert [(seq, overlay) for seq, _, overlay in painter.redrawn] == [(seq, {}) for seq in range(10)]


@simulated
async def test_boxes_older_than_a_second_are_not_drawn() -> None:
    painter, found = FakePainter(), sees("x")
    worker = FakeWorker(FakeAnalyzer("objects", look=found))
    async with engine(worker, painter=painter) as hub:
        session = await stream(hub, "objects", options={"objects": {"fps": 0.4}})
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=4, seconds=2.5)
    assert [bool(overlay) for _, _, overlay in painter.redrawn] == [True] * 4 + [False] * 6


@simulated
async def test_a_new_viewer_sees_the_newest_picture_at_once() -> None:
    async with engine() as hub:
        session, raw, small = await stream(hub), Subscriber(messages=1), Subscriber(messages=1)
        session.put(jpeg())
        session.watch(raw)
        session.watch(small, SMALL)
        await asyncio.sleep(0.01)
        assert [picture.jpeg for viewer in (raw, small) for picture in await seen(viewer)] == [jpeg(), b"painted"]


@simulated
async def test_while_a_stream_is_stale_its_viewers_see_a_slate_that_says_so() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub, name="Door"), Subscriber(messages=1, fill=True)
        session.put(jpeg())
        session.watch(viewer)
        await asyncio.sleep(2)
        assert [picture.state for picture in await seen(viewer)] == ["live"]
        await asyncio.sleep(3)
        assert [picture.state for picture in await seen(viewer)] == ["stale"]
        await asyncio.sleep(10)
        assert [picture.state for picture in await seen(viewer)] == ["stale"]
    assert painter.slates == [["Door", "no frames are coming in"]]  # drawn once, shown again and again


@simulated
async def test_without_a_slate_the_last_picture_must_do() -> None:
    painter = FakePainter()
    painter.error = NoPicture("the picture worker gave up")
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub), Subscriber(messages=1, fill=True)
        session.put(jpeg())
        session.watch(viewer)
        await asyncio.sleep(10)
        assert [picture.jpeg for picture in await seen(viewer)] == [jpeg()]
        assert session.state == "stale"


@simulated
async def test_one_viewer_too_many_is_refused_and_one_who_watches_twice_counts_once() -> None:
    async with engine(limits={"max_viewers": 2}) as hub:
        session = await stream(hub)
        first = listener(session)
        session.watch(first)
        listener(session)
        with pytest.raises(GatewayError, match="as many viewers as it may"):
            listener(session)
        assert session.viewers == 2


@simulated
async def test_sockets_of_the_publisher_are_no_viewers_as_long_as_it_has_the_place() -> None:
    async with engine() as hub:
        session, publisher = await stream(hub), FakePublisher("secret")
        listener(session).tokens = frozenset({"of another one", publisher.token})
        listener(session).tokens = frozenset({"of another one"})
        assert session.viewers == 2
        session.claim(publisher)
        assert (session.viewers, session.status()["publishers"]) == (1, 1)
        session.resign(publisher)
        assert session.viewers == 2


@simulated
async def test_a_message_is_relayed_to_everybody_but_its_sender() -> None:
    async with engine() as hub:
        session = await stream(hub)
        sender, other = listener(session), listener(session)
        session.relay({"text": "hello"}, sender)
        assert await heard(sender, "message") == []
        assert await heard(other, "message") == [{"type": "message", "data": {"text": "hello"}}]


@simulated
async def test_a_status_is_told_every_2_s_and_when_something_changes() -> None:
    async with engine() as hub:
        session = await stream(hub)
        viewer = listener(session, topics=("status",))
        await asyncio.sleep(10)
        assert len(await heard(viewer)) == pytest.approx(5, abs=1)
        session.claim(FakePublisher())
        await asyncio.sleep(0.01)
        assert [status["publishers"] for status in await heard(viewer)] == [1]


@simulated
async def test_pictures_posted_one_by_one_are_no_news() -> None:
    async with engine() as hub:
        session = await stream(hub)
        viewer = listener(session, topics=("status",))
        for _ in range(100):
            poster = FakePublisher()
            session.claim(poster)
            session.put(jpeg())
            session.resign(poster)
            await asyncio.sleep(0.1)
        assert len(await heard(viewer)) <= 7


@simulated
async def test_that_a_stream_is_stale_is_told_at_once() -> None:
    async with engine(stream={"status_s": 3600}) as hub:
        session = await stream(hub)
        session.put(jpeg())
        viewer = listener(session, topics=("status",))
        await asyncio.sleep(3.5)
        assert [status["state"] for status in await heard(viewer)][-1] == "stale"
