"""What `framegate watch` takes for a good end is what the gateway says when a stream ends by itself or is ended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.commands.watch import ENDS_WELL
from gateway.engine.lease import Lease

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


@pytest.mark.parametrize("happened", [(), ("join", "leave"), ("posted",)])
def test_every_end_of_a_lease_is_a_good_one(happened: tuple[str, ...]) -> None:
    lease = Lease(opened_at=0.0, grace_s=1.0, lease_s=5.0)
    for what in happened:
        lease.join() if what == "join" else getattr(lease, what)(1.0)
    assert lease.reason() in ENDS_WELL


def test_of_the_documented_reasons_only_a_shutdown_is_a_loss() -> None:
    listed = PAGE.partition("Why a stream ends (")[2].partition(":")[2].partition(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) - ENDS_WELL == {"shutdown"}
    assert ENDS_WELL - set(re.findall(r"`(\w+)`", listed)) == {"ended", "session_ended"}  # when nobody says more
