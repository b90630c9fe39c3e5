"""Calls: how many there may be, what is wished of a publisher, and that nothing is left of one that is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.calls import Calls, Visitor
from gateway.connectors.whip import WhipPublisher
from gateway.credentials import Credential
from gateway.engine.picture import Variant
from gateway.engine.session import Session
from gateway.errors import AtCapacity, NotFound, SecondPublisher, SessionEnded, TooFast
from gateway.media.messages import Told
from gateway.sinks.whep import WhepViewer
from gateway.webrtc_rules import Webrtc
from tests.clock import now, simulated
from tests.doubles import FakeAnalyzer, FakePublisher, FakeWorker, engine, heard, jpeg, listener, stream

HERE, THERE = Visitor("192.0.2.1"), Visitor("198.51.100.1")


def calls(**rules: Any) -> Calls:
    return Calls(Webrtc(**rules), clock=now)


def publisher(session: Session, among: Calls, visitor: Visitor = HERE, **more: Any) -> WhipPublisher:
    call = WhipPublisher(session, visitor, among, **more)
    call.begin()
    call.take()
    return call


def viewer(session: Session, among: Calls, visitor: Visitor = HERE) -> WhepViewer:
    call = WhepViewer(session, visitor, among, Variant())
    call.begin()
    return call


@simulated
async def test_there_are_so_many_and_no_more_and_of_one_address_fewer() -> None:
    async with engine() as hub:
        session, few = await stream(hub), calls(max_peers=3, max_peers_per_address=2)
        first, _ = viewer(session, few), viewer(session, few)
        with pytest.raises(TooFast) as same:
            viewer(session, few)
        viewer(session, few, THERE)
        with pytest.raises(AtCapacity) as all_of_them:
            viewer(session, few, THERE)
        assert (same.value.status, same.value.code) == (429, "peers_per_address")
        assert (all_of_them.value.status, all_of_them.value.code) == (503, "peer_limit")
        first.end("by its client")
        viewer(session, few)
        assert len(few) == 3


@simulated
async def test_a_call_that_is_refused_a_place_on_the_stream_takes_none_among_the_calls() -> None:
    async with engine() as hub:
        session, all_calls = await stream(hub), calls()
        session.claim(FakePublisher(token="theirs"))
        session.put(jpeg())
        with pytest.raises(SecondPublisher):
            publisher(session, all_calls)
        assert (len(all_calls), session.lease.clients) == (0, 1)
        publisher(session, all_calls, resume="theirs")
        assert (len(all_calls), session.lease.clients) == (1, 2)


@pytest.mark.parametrize("begin", [publisher, viewer])
def test_a_call_whose_offer_was_complete_when_the_stream_had_ended_is_told_so_and_takes_no_place(begin: Any) -> None:
    @simulated
    async def run() -> None:
        async with engine() as hub:
            session, all_calls = await stream(hub), calls()
            await hub.end(session.id)
            with pytest.raises(SessionEnded) as ended:
                begin(session, all_calls)
            assert (ended.value.reason, len(all_calls), session.lease.clients) == ("deleted", 0, 1)

    run()


class Broken(WhepViewer):
    """A viewer that never gets to run."""

    def join(self) -> None:
        super().join()
        raise RuntimeError("a defect")


@simulated
async def test_a_call_that_cannot_begin_takes_no_place_whatever_the_reason() -> None:
    async with engine() as hub:
        session, all_calls = await stream(hub), calls()
        with pytest.raises(RuntimeError, match="a defect"):
            Broken(session, HERE, all_calls, Variant()).begin()
        assert (len(all_calls), session.lease.clients, session.viewers) == (0, 1, 0)


@simulated
async def test_a_place_is_taken_from_a_silent_publisher_only_when_the_newcomers_offer_has_been_answered() -> None:
    async with engine() as hub:
        session, all_calls, silent = await stream(hub), calls(), FakePublisher()
        session.claim(silent)
        await asyncio.sleep(3)
        refused, first, second = (WhipPublisher(session, HERE, all_calls) for _ in range(3))
        for call in (refused, first, second):
            call.begin()
        refused.end("its offer was not answered")
        assert (silent.displacements, session.status()["publishers"]) == (0, 1)
        first.take()
        assert (silent.displacements, first.over) == (1, False)
        with pytest.raises(SecondPublisher):
            second.take()
        assert not first.over


@pytest.mark.parametrize("begin", [publisher, viewer])
@pytest.mark.parametrize("how", ["hung up", "lost", "revoked", "the stream's end"])
def test_nothing_is_left_of_a_call_that_is_over(begin: Any, how: str) -> None:
    @simulated
    async def run() -> None:
        async with engine() as hub:
            session, all_calls, credential = await stream(hub), calls(), Credential()
            call = begin(session, all_calls, Visitor("192.0.2.1", (credential,), 3600.0))
            assert (session.lease.clients, len(credential.holders)) == (2, 1)
            match how:
                case "hung up":
                    all_calls.hang_up(call.id, session.id, type(call))
                case "lost":
                    call.told(Told(1, "lost", "ice", "no way to it"))
                case "revoked":
                    credential.revoke()
                case _:
                    await hub.end(session.id)
            assert call.over
            assert (len(all_calls), session.lease.clients, len(credential.holders)) == (0, 1, 0)
            assert (session.viewers, session.status()["publishers"]) == (0, 0)
            assert call.wish(1) is None
            all_calls.hang_up(call.id, session.id, type(call))  # who closed his connection first still hangs up
            with pytest.raises(NotFound):
                all_calls.get(call.id, session.id, type(call))

    run()


@simulated
async def test_a_credential_that_expires_ends_what_it_began() -> None:
    async with engine() as hub:
        session, all_calls = await stream(hub), calls()
        call = publisher(session, all_calls, Visitor("192.0.2.1", (), 5.0))
        await asyncio.sleep(4.9)
        assert not call.over
        await asyncio.sleep(0.2)
        assert call.over


@simulated
async def test_of_a_publisher_as_much_is_wished_as_somebody_wants() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow")), media={"fps": 12.0}) as hub:
        session, all_calls = await stream(hub), calls()
        call = publisher(session, all_calls)
        wish = call.wish(1)
        assert wish is not None
        assert (wish.fps, wish.wanted) == (1.0, True)  # nobody looks, but it shall not seem silent
        watching = listener(session)
        session.watch(watching)
        assert call.wished(1).fps == 12.0
        session.audience.leave(watching)
        hub.change(session.id, session.request.changed({"analyzers": ("slow",), "options": {"slow": {"fps": 3}}}))
        assert call.wished(1).fps == 3.0
        hub.change(session.id, session.request.changed({"options": {"slow": {"fps": 0.2}}}))
        assert call.wished(1).fps == 1.0  # or whoever looks so seldom would let it seem silent
    async with engine(FakeWorker(FakeAnalyzer("slow")), clips={"on": True, "fps": 5.0}) as hub:
        session = await stream(hub, "slow", options={"slow": {"fps": 3}})
        assert publisher(session, calls()).wished(1).fps == 5.0


@simulated
async def test_a_publisher_that_is_displaced_is_over_and_an_ended_stream_is_told_to_viewers() -> None:
    async with engine() as hub:
        session, all_calls = await stream(hub), calls()
        call, told = publisher(session, all_calls), listener(session)
        await asyncio.sleep(2.1)
        session.claim(FakePublisher())  # it has sent nothing
        assert call.over
        await hub.end(session.id)
        assert [message["reason"] for message in await heard(told, "bye")] == ["deleted"]
