"""The media protocol: what one end says is what the other hears, and nothing else is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.engine.wire import BrokenWire
from gateway.media.messages import (
    Bye,
    Close,
    Counters,
    Gone,
    Hello,
    Open,
    Order,
    Ping,
    Pong,
    Report,
    Setup,
    Shot,
    Told,
    Wish,
    order,
    report,
    to_wire,
)
from gateway.media.sources import parse

ORDERS = (
    *(
        Setup(networks=("10.0.0.0/8",), endpoints=("127.0.0.1:8554",)),
        Wish(3, 2.5, 640, wanted=False),
        Close(3),
        Ping(),
        Bye(),
    ),
    Open(3, parse("rtsp://a:b@h1/x?y"), Wish(3)),
)
REPORTS = (
    *(Hello(1, {"network": "granted"}), Shot(3, 1.5, 640, 360, True, 1_700_000_000_000_000), Gone(3)),
    *(Told(3, "lost", "timeout", "nothing", 4, 2.5), Pong(10, {3: Counters(packets=7, fps=15.0)}, (3,))),
)


@pytest.mark.parametrize("said", ORDERS)
def test_orders_arrive_as_they_were_said(said: Order) -> None:
    assert order(json.loads(json.dumps(to_wire(said)))) == said


@pytest.mark.parametrize("said", REPORTS)
def test_reports_arrive_as_they_were_said(said: Report) -> None:
    assert report(json.loads(json.dumps(to_wire(said)))) == said


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"t": "nonsense"},
        {"t": "open", "number": 1},
        {"t": "wish", "number": 1, "fps": 0},
        {"t": "wish", "number": 1, "side": "canary"},
        {"t": "frame", "number": 1},
        {"t": "open", "number": 1, "wish": {"number": 1}, "source": {"kind": "exec", "password": "canary"}},
    ],
)
def test_what_is_no_message_breaks_the_wire_and_names_no_value(header: dict[str, Any]) -> None:
    for read in (order, report):
        with pytest.raises(BrokenWire) as broken:
            read(header)
        assert "canary" not in str(broken.value)


def test_no_message_shows_a_secret_in_a_log() -> None:
    assert "canary" not in repr(Open(3, parse("rtsp://canary:canary@h1/canary"), Wish(3)))
