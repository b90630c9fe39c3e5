"""Life and death of streams and their clients: whatever happens in whatever order, on a clock of its own.

The model is what a client's own half of each conversation shows: who is in, when the last one went, what was asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.hub import Hub
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from tests.clock import now, simulated
from tests.connectors.conversation import Client
from tests.doubles import FakeAnalyzer, FakeWorker, engine, jpeg
from tests.sockets import framed

GRACE_S, LEASE_S, SLACK_S = 20.0, 300.0, 0.3
CODES = {None, 1000, 1012, 1013, 4400, 4404, 4408, 4409, 4413, 4422, 4429}  # None: it went by itself

SLOTS = st.integers(0, 2)
STREAMS = st.sampled_from([0, 0, 1])
JOIN = st.tuples(st.just("join"), SLOTS, STREAMS, st.booleans())
JUNK = st.sampled_from(["{", "*", '{"type":"hello"}', '{"a":1}', b"x", b"\xff\xd8"])
TO_CLIENT = st.tuples(st.sampled_from(["frame", "leave", "leave", "crash", "stick"]), SLOTS)
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.01, 0.5, 3.0, 9.0, 21.0, 65.0]))
EDGE = st.tuples(st.just("edge"), STREAMS, st.sampled_from([-0.1, 0.5]))  # all leave, and it is nearly over, or over
ACTIONS = st.one_of(
    *(JOIN, JOIN, JOIN, TO_CLIENT, TO_CLIENT, TO_CLIENT, WAIT, EDGE),
    st.tuples(st.just("open"), STREAMS, st.sampled_from([0.0, GRACE_S])),
    st.tuples(st.just("junk"), SLOTS, JUNK),
    st.tuples(st.sampled_from(["delete", "pause", "resume", "pause", "resume", "drain"]), STREAMS),
)


@dataclass
class Stream:
    """A session and what its life should be."""

    session: Session
    grace_s: float
    clients: list[tuple[Client, asyncio.Task[None]]] = field(default_factory=list)
    went_at: float | None = None  # when the last client went
    ended: bool = False  # somebody asked for it

    @property
    def present(self) -> int:
        return sum(not run.done() for _, run in self.clients)

    def should_end_at(self) -> float | None:
        if self.ended or self.present:
            return None
        return self.session.lease.opened_at + LEASE_S if self.went_at is None else self.went_at + self.grace_s


class World:
    """Two streams at most, and three clients."""

    def __init__(self, hub: Hub, tasks: asyncio.TaskGroup) -> None:
        self.hub, self.tasks = hub, tasks
        self.streams: dict[int, Stream] = {}
        self.all: list[Stream] = []
        self.slots: dict[int, Client] = {}
        self.drained = False

    async def happens(self, what: str, *which: Any) -> None:
        match what, which:
            case "open", (int(index), float(grace_s)):
                await self.open(index, grace_s)
            case "join", (int(slot), int(index), bool(negotiates)):
                self.join(slot, index, negotiates)
            case "wait", (float(seconds),):
                await asyncio.sleep(seconds)
            case "edge", (int(index), float(beside)):
                if index in self.streams:
                    await self.to_the_edge(self.streams[index], beside)
            case "drain", _:
                self.drained = True
                for stream in self.all:
                    stream.ended = True
                await self.hub.drain()
            case (("delete" | "pause" | "resume"), (int(index),)) if index in self.streams:
                await self.to_stream(what, self.streams[index])
            case _, (int(slot), *more) if slot in self.slots and what not in ("delete", "pause", "resume"):
                self.to_client(what, self.slots[slot], *more)
        await asyncio.sleep(0.01)  # everybody hears of it

    async def open(self, index: int, grace_s: float) -> None:
        if self.drained or (index in self.streams and not self.streams[index].session.gone.is_set()):
            return
        session = await self.hub.open_session(SessionRequest(analyzers=("quick",), grace_s=grace_s))
        self.streams[index] = Stream(session, grace_s)
        self.all.append(self.streams[index])

    def join(self, slot: int, index: int, negotiates: bool) -> None:
        stream, old = self.streams.get(index), self.slots.get(slot)
        if stream is None or (old is not None and old.code is None and old.status != 404):
            return
        client = Client(self.hub, stream.session.id, negotiates, b"frames=binary")
        run = self.tasks.create_task(client.run())
        self.slots[slot] = client

        def gone(_: asyncio.Task[None]) -> None:
            if client.status != 404 and not stream.present:
                stream.went_at = now()
            self.slots.pop(slot, None)

        stream.clients.append((client, run))
        run.add_done_callback(gone)

    async def to_the_edge(self, stream: Stream, beside: float) -> None:
        for client, _ in stream.clients:
            client.leave()
        await asyncio.sleep(0.01)
        if (until := stream.should_end_at()) is not None:
            await asyncio.sleep(max(0.0, until + beside - now()))

    async def to_stream(self, what: str, stream: Stream) -> None:
        if stream.session.reason is not None:
            return
        if what == "delete":
            stream.ended = True
            await self.hub.end(stream.session.id)
        else:
            request = stream.session.request.changed({"paused": what == "pause"})
            self.hub.change(stream.session.id, request)

    def to_client(self, what: str, client: Client, *more: Any) -> None:
        match what:
            case "frame":
                client.say(framed(jpeg(), 0))
            case "junk":
                client.say(*more)
            case "leave":
                client.leave()
            case "crash":
                client.crash()
            case "stick":
                client.stuck = True

    def check(self) -> None:
        """What holds at any moment."""
        for stream in self.all:
            session, until = stream.session, stream.should_end_at()
            assert 0 <= session.lease.clients <= 3
            assert session.lease.clients == stream.present, "counted who is in"
            assert len(session.audience) == stream.present, "and nobody else listens"
            assert session.status()["publishers"] <= min(1, stream.present), "nobody publishes who is not there"
            if stream.ended or (until is not None and now() > until + SLACK_S):
                assert session.id not in self.hub.sessions, f"it outlived its end: {session.lease}"
            elif until is None or now() < until:
                assert session.id in self.hub.sessions, f"it ended early: {session.reason}"


@contextmanager
def teardowns() -> Iterator[Counter[str]]:
    """How often each session was torn down."""
    counted: Counter[str] = Counter()
    original = Session.close

    def close(self: Session, **how: Any) -> None:
        counted[self.id] += 1
        original(self, **how)

    with patch.object(Session, "close", close):
        yield counted


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=15, max_size=40))
def test_a_stream_lives_while_it_is_wanted_and_is_torn_down_once(actions: list[tuple[Any, ...]]) -> None:
    @simulated
    async def check() -> None:
        worker = FakeWorker(FakeAnalyzer("quick"))
        with teardowns() as counted:
            async with engine(worker, grace_s=GRACE_S, lease_s=LEASE_S) as hub:
                await asyncio.sleep(1)
                before = asyncio.all_tasks()
                async with asyncio.TaskGroup() as tasks:
                    world = World(hub, tasks)
                    await world.happens("open", 0, GRACE_S)
                    for action in actions:
                        await world.happens(*action)
                        world.check()
                    await world.happens("drain")
                await asyncio.sleep(15)  # who takes nothing is cut
                ids = [stream.session.id for stream in world.all]
                assert (hub.sessions, asyncio.all_tasks()) == ({}, before), "something survived"
                assert counted == Counter(ids), "torn down once each"
                assert sorted(worker.forgotten) == sorted((id, None) for id in ids)
                assert {client.code for stream in world.all for client, _ in stream.clients} <= CODES

    check()
