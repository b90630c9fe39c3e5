"""Subscriber: what one viewer gets next, and what it loses."""

from __future__ import annotations

import pytest

from gateway.engine.mailbox import Closed
from gateway.engine.picture import Picture
from gateway.engine.subscriber import Subscriber
from gateway.frame import Frame
from tests.clock import simulated
from tests.doubles import heard


def picture(seq: int) -> Picture:
    return Picture(Frame(seq, 1000.0, 32, 24, b"jpeg"), b"jpeg")


@simulated
async def test_an_acknowledgement_comes_first_then_messages_then_the_newest_picture() -> None:
    viewer = Subscriber(messages=8)
    viewer.put_picture(picture(1))
    viewer.put_picture(picture(2))
    viewer.put_message("first")
    viewer.put_message("second")
    viewer.put_ack("ack 1")
    viewer.put_ack("ack 2")
    taken = [await viewer.next() for _ in range(4)]
    assert [item if isinstance(item, str) else item.frame.seq for item in taken] == ["ack 2", "first", "second", 2]
    assert viewer.dropped == {"messages": 0, "pictures": 1}


@simulated
async def test_what_was_there_before_the_farewell_is_still_delivered() -> None:
    viewer = Subscriber(messages=8)
    viewer.put_message("before")
    viewer.close(4409, "replaced", last_words="bye")
    viewer.put_message("after")
    viewer.put_picture(picture(1))
    assert [await viewer.next(), await viewer.next()] == ["before", "bye"]
    with pytest.raises(Closed):
        await viewer.next()


@simulated
async def test_the_first_farewell_counts() -> None:
    viewer = Subscriber(messages=8)
    viewer.close(4409, "replaced")
    viewer.close(1000, "", last_words="bye")
    assert viewer.farewell == (4409, "replaced")
    assert await heard(viewer) == []


def test_a_picture_is_wrapped_once_for_all_viewers_of_a_transport() -> None:
    shared, made = picture(1), []

    def wrap(item: Picture) -> bytes:
        made.append(item)
        return b"--frame" + item.jpeg

    assert shared.once("mjpeg", wrap) is shared.once("mjpeg", wrap)
    assert made == [shared]
