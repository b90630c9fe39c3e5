"""The media child: a process that reads sources until the gateway has gone. Its main thread only reads the socket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.media.messages import (
    VERSION,
    Bye,
    Close,
    Gone,
    Hangup,
    Hello,
    Meet,
    Open,
    Order,
    Ping,
    Pong,
    Report,
    Say,
    Setup,
    Show,
    Trickle,
    Wish,
    order,
    to_wire,
)
from gateway.media.pull import Pull

if TYPE_CHECKING:
    from gateway.engine.child import Child
    from gateway.media.rtc_loop import Rtc

FAREWELL_S = 0.3  # for WebRTC peers to hear that they are hung up


def serve(child: Child) -> None:
    """Serve one gateway until it has gone. Raises `BrokenWire`."""
    child.send(to_wire(Hello(VERSION, child.confined)))
    setup = order(child.receive()[0])
    if not isinstance(setup, Setup):
        raise TypeError(f"expected a setup first, got {setup.t}")
    streams = Streams(child, setup)
    while True:
        header, payload = child.receive()
        streams.obey(order(header), payload)


class Streams:
    """Every source that this child reads, and its peers. Touched by the main thread, but for what `Gone` removes."""

    def __init__(self, child: Child, setup: Setup) -> None:
        self._child = child
        self._setup = setup
        self._pulls: dict[int, Pull] = {}
        self._rtc: Rtc | None = None

    def obey(self, said: Order, payload: bytes = b"") -> None:
        match said:
            case Open():
                self._pulls[said.number] = pull = Pull(said, self._setup, self._send)
                pull.start()
            case Wish():
                if known := self._pulls.get(said.number):
                    known.wish = said
                elif self._rtc is not None:
                    self._rtc.obey(said)
            case Meet() | Trickle() | Hangup() | Say():
                self._peers().obey(said)
            case Show():
                self._peers().show(said, payload)
            case Close():
                if known := self._pulls.get(said.number):
                    known.close()
            case Ping():
                self._send(self._pong(), b"")
            case Bye():
                if self._rtc is not None:
                    self._rtc.leave(FAREWELL_S)
                os._exit(0)

    def _peers(self) -> Rtc:
        """The WebRTC side, which is loaded when the first peer comes."""
        if self._rtc is None:
            from gateway.media.rtc_loop import Rtc

            self._rtc = Rtc(self._setup, self._send)
        return self._rtc

    def _pong(self) -> Pong:
        from gateway.engine.child import resident_bytes

        pulls, rtc = list(self._pulls.values()), self._rtc
        return Pong(
            resident_bytes(),
            {pull.number: pull.counters() for pull in pulls} | (rtc.counters() if rtc else {}),
            (*(pull.number for pull in pulls if pull.stuck()), *(rtc.stuck() if rtc else ())),
        )

    def _send(self, said: Report, payload: bytes) -> None:
        if isinstance(said, Gone):
            self._pulls.pop(said.number, None)
        self._child.send(to_wire(said), payload)
