"""Who may come in: by address, by rate, by descriptors; and how seldom a refusal is logged."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest

from gateway.engine.admission import IN_RESERVE, Admission, Visit, group_of
from gateway.engine.refusals import REMEMBERED, Refusals, Seldom
from gateway.errors import AtCapacity
from gateway.limits import Limits
from gateway.proxies import Proxies, prefix_of


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admission(*, proxies: tuple[str, ...] = (), clock: Clock | None = None, **limits: int) -> Admission:
    return Admission(Limits.model_validate(limits), Proxies(proxies), clock=clock or Clock())


def entered(door: Admission, address: str, descriptor: int = 10) -> Visit:
    visit = door.enter(address, descriptor)
    assert visit is not None
    return visit


# --- connections -----------------------------------------------------------------------------------------------------


def test_an_address_has_its_share_and_gets_it_back() -> None:
    door = admission(max_connections_per_address=2)
    visits = [entered(door, "192.0.2.1") for _ in range(2)]
    assert door.enter("192.0.2.1", 10) is None
    entered(door, "192.0.2.2").end()
    visits[0].end()
    visits[0].end()  # twice is once
    assert door.enter("192.0.2.1", 10) is not None
    assert door.enter("192.0.2.1", 10) is None
    assert (door.connections, dict(door.refusals.counts)) == (2, {"connections_per_address": 2})


def test_who_has_been_answered_is_no_longer_in_the_crowd() -> None:
    door = admission(max_pending_per_address=2)
    visits = [entered(door, "192.0.2.1") for _ in range(3)]
    assert [visit.crowded for visit in visits] == [True, True, True]
    visits[1].settle()
    assert [visit.crowded for visit in visits] == [False, False, False]


def test_far_too_large_a_crowd_is_not_let_in_at_all() -> None:
    door = admission(max_pending_per_address=2)
    visits = [door.enter("192.0.2.1", 10) for _ in range(40)]
    assert [visit is not None for visit in visits] == [True] * 32 + [False] * 8


def test_a_proxy_brings_as_many_as_it_likes() -> None:
    door = admission(max_connections_per_address=2, max_pending_per_address=1, proxies=("192.0.2.0/24",))
    assert not any(entered(door, "192.0.2.1").crowded for _ in range(100))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_host_is_counted_by_its_network(address: str, group: str) -> None:
    assert group_of(address) == group


def test_in_the_reserve_the_silent_make_way_for_who_comes() -> None:
    door = admission(fd_reserve=32)
    door.descriptors = 100
    assert entered(door, "192.0.2.1", 67).last is None
    cut: list[int] = []
    visits = []
    for number in range(IN_RESERVE):
        visit = entered(door, "192.0.2.1", 68)
        visit.cut = lambda number=number: cut.append(number)  # type: ignore[misc]
        visits.append(visit)
    assert {visit.last for visit in visits} == {"fd_exhausted"}
    door.asked(visits[0])
    assert entered(door, "192.0.2.1", 90).last == "fd_exhausted"
    assert cut == [1]
    for visit in visits:
        door.asked(visit)
    last = door.enter("192.0.2.1", 91)
    assert last is not None  # in the place of the one that came before it and said nothing
    door.asked(last)
    assert door.enter("192.0.2.1", 92) is None


# --- sockets and streams ---------------------------------------------------------------------------------------------


def test_a_burst_is_taken_and_then_the_rate() -> None:
    clock = Clock()
    door = admission(admission_per_s=10, admission_burst=3, clock=clock)
    taken = []
    for moment in (0.0, 0.0, 0.0, 0.0, 0.05, 0.1, 0.1, 100.0, 100.0, 100.0, 100.0):
        clock.now = 1000.0 + moment
        try:
            door.take("192.0.2.1", stream=False)
            taken.append(True)
        except AtCapacity:
            taken.append(False)
    assert taken == [True, True, True, False, False, True, False, True, True, True, False]


def test_one_address_leaves_something_for_the_others() -> None:
    door = admission(admission_per_s=100, admission_burst=100, admission_per_address_s=5)

    def taken(address: str) -> int:
        count = 0
        for _ in range(20):
            with suppress(AtCapacity):
                door.take(address, stream=False)
                count += 1
        return count

    assert taken("192.0.2.1") == 10
    assert taken("2001:db8::1") == 10
    assert taken("2001:db8::2") == 0
    assert taken("127.0.0.1") == taken("::1") == 20


def test_who_is_refused_comes_back_at_a_time_of_his_own() -> None:
    door = admission(retry_after_max_s=30)
    waits = {door.retry_after_s() for _ in range(2000)}
    assert waits == set(range(1, 31))


# --- the log ---------------------------------------------------------------------------------------------------------


def test_the_same_refusal_is_logged_once_in_a_while_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(10.0, clock=clock)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            refusals.note("http_slow", "192.0.2.1")
        refusals.note("http_slow", "192.0.2.2")
        clock.now += 10
        refusals.note("http_slow", "192.0.2.1", "again")
    assert [record.getMessage().strip() for record in caplog.records] == [
        "refused http_slow: peer=192.0.2.1 suppressed=0",
        "refused http_slow: peer=192.0.2.2 suppressed=0",
        "refused http_slow: peer=192.0.2.1 suppressed=4 again",
    ]
    assert refusals.counts == {"http_slow": 7}


def test_a_million_addresses_are_not_remembered() -> None:
    seldom = Seldom(10.0, clock=Clock())
    told = sum(seldom.suppressed("http_slow", f"peer {number}") is not None for number in range(REMEMBERED * 3))
    assert told == REMEMBERED + 1  # the rest share one line
    assert len(seldom._said) == REMEMBERED + 1


def test_close_codes_come_from_a_closed_set() -> None:
    refusals = Refusals(10.0, clock=Clock())
    for code in (1000, 1006, 1013, 4400, 4408, 3000, 4999, 65535, 1016):
        refusals.note_closed(code)
    assert refusals.closed == {"1000": 1, "1006": 1, "1013": 1, "4400": 1, "4408": 1, "other": 4}


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("10.1.2.3", "10.1.2.3"),
        ("198.51.100.7:1234", "198.51.100.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown, 10.1.2.3", None),
        ("evil<script>", None),
        ("", None),
    ],
)
def test_the_client_is_the_last_that_no_proxy_of_ours_stands_for(said: str, client: str | None) -> None:
    assert Proxies(["10.0.0.0/8", "::1"]).client_of(said) == client


def test_what_is_no_address_is_no_proxy() -> None:
    with pytest.raises(ValueError, match="proxy"):
        Proxies(["proxy.example"])
    assert "127.0.0.1" not in Proxies([])
    assert "::ffff:10.1.2.3" in Proxies(["10.0.0.0/8"])


@pytest.mark.parametrize(
    ("said", "prefix"),
    [("/cams", "/cams"), ("/cams/", "/cams"), ("/a/b", "/a/b"), ("/", ""), ("", ""), ("//evil", None), ("evil", None)],
)
def test_a_prefix_is_a_path(said: str, prefix: str | None) -> None:
    assert prefix_of(said) == prefix
