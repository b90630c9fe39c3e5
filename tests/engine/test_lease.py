"""Lease: when a session ends by itself."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.engine.lease import Lease

GRACE_S, LEASE_S = 20.0, 300.0


class LeaseModel(RuleBasedStateMachine):
    """A session exists exactly while somebody is connected, or within the grace or lease of what happened last."""

    @initialize(grace_s=st.sampled_from([0.0, GRACE_S]))
    def open(self, grace_s: float) -> None:
        self.now = 1000.0
        self.lease = Lease(self.now, grace_s, LEASE_S)
        self.opened_at = self.now
        self.left_at: float | None = None
        self.posted_at: float | None = None
        self.clients = self.readers = 0

    @property
    def exists(self) -> bool:
        deadline = self.lease.deadline()
        return deadline is None or self.now < deadline

    @rule()
    @precondition(lambda self: self.exists)
    def join(self) -> None:
        self.lease.join()
        self.clients += 1
        self.posted_at = None  # who has joined will leave; until then nothing ends, and then that counts

    @rule()
    @precondition(lambda self: self.clients)
    def leave(self) -> None:
        self.lease.leave(self.now)
        self.clients -= 1
        self.left_at = self.now

    @rule()
    @precondition(lambda self: self.exists)
    def post(self) -> None:
        self.lease.posted(self.now)
        self.posted_at = self.now

    @rule(number=st.sampled_from([1, -1]))
    def read(self, number: int) -> None:
        self.readers = self.lease.readers = max(0, self.readers + number)

    @rule(seconds=st.sampled_from([0.5, 19.0, 21.0, 299.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def exists_while_it_should(self) -> None:
        within_grace = self.left_at is not None and self.now < self.left_at + self.lease.grace_s
        read = self.left_at is not None and self.readers > 0 and self.now < self.left_at + LEASE_S
        posted = self.posted_at is not None and self.now < self.posted_at + LEASE_S
        untouched = self.left_at is None and self.posted_at is None and self.now < self.opened_at + LEASE_S
        assert self.exists == (self.clients > 0 or within_grace or read or posted or untouched)


TestLeaseModel = LeaseModel.TestCase


def lease() -> Lease:
    return Lease(1000.0, GRACE_S, LEASE_S)


def test_nobody_ever_came() -> None:
    nobody = lease()
    assert (nobody.deadline(), nobody.reason()) == (1300.0, "never_joined")


def test_while_somebody_is_connected_there_is_no_deadline() -> None:
    held = lease()
    held.join()
    held.join()
    held.leave(1100.0)
    assert held.deadline() is None


def test_the_last_client_left() -> None:
    left = lease()
    left.join()
    left.leave(1100.0)
    assert (left.deadline(), left.reason()) == (1120.0, "last_client_left")


def test_only_readers_are_left() -> None:
    read = lease()
    read.join()
    read.readers = 1
    read.leave(1100.0)
    assert (read.deadline(), read.reason()) == (1400.0, "lease_expired")


def test_the_last_picture_was_posted() -> None:
    posted = lease()
    posted.posted(1100.0)
    posted.posted(1200.0)
    assert (posted.deadline(), posted.reason()) == (1500.0, "lease_expired")


def test_a_post_outlives_the_grace_of_a_client_that_left_and_says_so() -> None:
    both = lease()
    both.join()
    both.posted(1100.0)
    both.leave(1150.0)
    assert (both.deadline(), both.reason()) == (1400.0, "lease_expired")


def test_a_grace_longer_than_the_lease_is_not_cut_short_by_a_reader() -> None:
    patient = Lease(1000.0, 3600.0, LEASE_S)
    patient.join()
    patient.readers = 1
    patient.leave(1100.0)
    assert patient.deadline() == 4700.0


def test_nobody_can_leave_who_never_joined() -> None:
    with pytest.raises(AssertionError, match="never joined"):
        lease().leave(1000.0)
