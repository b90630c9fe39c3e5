"""The media child: a process that reads sources until the gateway has gone. Its main thread only reads the socket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.media.messages import (
    VERSION,
    Bye,
    Close,
    Gone,
    Hello,
    Open,
    Order,
    Ping,
    Pong,
    Report,
    Setup,
    Wish,
    order,
    to_wire,
)
from gateway.media.pull import Pull

if TYPE_CHECKING:
    from gateway.engine.child import Child


def serve(child: Child) -> None:
    """Serve one gateway until it has gone. Raises `BrokenWire`."""
    child.send(to_wire(Hello(VERSION, child.confined)))
    setup = order(child.receive()[0])
    if not isinstance(setup, Setup):
        raise TypeError(f"expected a setup first, got {setup.t}")
    streams = Streams(child, setup)
    while True:
        streams.obey(order(child.receive()[0]))


class Streams:
    """Every source that this child reads. Touched by the main thread, but for what `Gone` removes."""

    def __init__(self, child: Child, setup: Setup) -> None:
        self._child = child
        self._setup = setup
        self._pulls: dict[int, Pull] = {}

    def obey(self, said: Order) -> None:
        match said:
            case Open():
                self._pulls[said.number] = pull = Pull(said, self._setup, self._send)
                pull.start()
            case Wish():
                if known := self._pulls.get(said.number):
                    known.wish = said
            case Close():
                if known := self._pulls.get(said.number):
                    known.close()
            case Ping():
                self._send(self._pong(), b"")
            case Bye():
                os._exit(0)

    def _pong(self) -> Pong:
        from gateway.engine.child import resident_bytes

        pulls = list(self._pulls.values())
        return Pong(
            resident_bytes(),
            {pull.number: pull.counters() for pull in pulls},
            tuple(pull.number for pull in pulls if pull.stuck()),
        )

    def _send(self, said: Report, payload: bytes) -> None:
        if isinstance(said, Gone):
            self._pulls.pop(said.number, None)
        self._child.send(to_wire(said), payload)
