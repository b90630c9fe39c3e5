"""Mailbox: bounded, drop-oldest, counted; `put()` never waits."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.engine.mailbox import Bell, Closed, Mailbox
from tests.clock import simulated


class MailboxModel(RuleBasedStateMachine):
    """A mailbox holds the newest items that nobody took, in order, and counts every one that had to go."""

    @initialize(capacity=st.integers(1, 5))
    def open(self, capacity: int) -> None:
        self.mailbox: Mailbox[int] = Mailbox(capacity)
        self.items: list[int] = []
        self.dropped = self.number = 0
        self.closed = False

    @rule()
    def put(self) -> None:
        self.number += 1
        gone = self.mailbox.put(self.number)
        if self.closed:
            assert gone == self.number
            return
        self.items.append(self.number)
        expected = self.items.pop(0) if len(self.items) > self.mailbox.capacity else None
        self.dropped += expected is not None
        assert gone == expected

    @rule()
    def take(self) -> None:
        assert self.mailbox.take() == (self.items.pop(0) if self.items else None)

    @rule()
    def close(self) -> None:
        self.mailbox.close()
        self.closed = True

    @invariant()
    def agrees(self) -> None:
        box = self.mailbox
        assert (len(box), box.dropped, box.closed) == (len(self.items), self.dropped, self.closed)


TestMailboxModel = MailboxModel.TestCase


def test_a_mailbox_holds_at_least_one_item() -> None:
    with pytest.raises(ValueError, match="at least 1 item, got capacity 0"):
        Mailbox(0)


@simulated
async def test_get_waits_for_an_item() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    async with asyncio.TaskGroup() as tasks:
        got = tasks.create_task(mailbox.get())
        await asyncio.sleep(1)
        assert not got.done()
        mailbox.put("item")
    assert got.result() == "item"


@simulated
async def test_what_is_inside_a_closed_mailbox_can_still_be_had() -> None:
    mailbox: Mailbox[str] = Mailbox(2)
    mailbox.put("last")
    mailbox.close()
    assert await mailbox.get() == "last"
    with pytest.raises(Closed):
        await mailbox.get()


@simulated
async def test_closing_wakes_who_waits() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    asyncio.get_running_loop().call_later(1, mailbox.close)
    with pytest.raises(Closed):
        await mailbox.get()


@simulated
async def test_a_given_up_get_loses_nothing() -> None:
    mailbox: Mailbox[str] = Mailbox(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await mailbox.get()
    mailbox.put("item")
    assert await mailbox.get() == "item"


@simulated
async def test_one_bell_wakes_for_any_of_its_mailboxes() -> None:
    bell = Bell()
    boxes: list[Mailbox[str]] = [Mailbox(1, bell), Mailbox(1, bell)]
    for box in boxes:
        asyncio.get_running_loop().call_later(1, box.put, "item")
        await bell.wait()
        assert [len(each) for each in boxes] == [each is box for each in boxes]
        box.take()


@simulated
async def test_a_bell_that_rang_before_is_not_waited_for() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await bell.wait()
