"""Candidates: which addresses a WebRTC client may have tried from here, as a table."""

from __future__ import annotations

import pytest

from gateway.ice import Candidates

OWN = {"192.168.7.20", "127.0.0.1", "::1", "203.0.113.5"}


def candidates(**wish: object) -> Candidates:
    given = {"networks": ["192.168.7.0/24", "fd12::/16"], "most": 16, "own": lambda: OWN, **wish}
    return Candidates(**given)  # type: ignore[arg-type]


def tried(checked: Candidates, value: str) -> bool:
    """Whether it is passed on, in a message of its own."""
    return checked.keep([value]) != [None]


def line(
    address: str, port: int | str = 40000, transport: str = "UDP", component: str = "1", kind: str = "host"
) -> str:
    return f"1 {component} {transport} 2114977791 {address} {port} typ {kind}"


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "93.184.216.34", "2a00:1450:4001:830::200e"),  # public
        *("192.168.7.1", "192.168.7.255", "fd12::99"),  # in a network of clients
        *("::ffff:8.8.8.8", "::ffff:192.168.7.9", "64:ff9b::808:808"),  # an IPv4 one inside
    ],
)
def test_what_clients_may_have_is_tried(address: str) -> None:
    assert tried(candidates(), line(address))


REFUSED = {
    "loopback": [
        *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
    "own": ["192.168.7.20", "203.0.113.5", "::ffff:192.168.7.20"],
    "link-local, multicast or metadata": [
        *("169.254.169.254", "169.254.0.1", "fe80::1", "224.0.0.251", "239.255.255.250", "ff02::fb", "ff0e::1"),
        *("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254"),
    ],
    "private": [
        *("10.0.0.1", "172.16.0.1", "192.168.8.1", "100.64.0.1", "fd13::1", "fc00::1", "::ffff:10.0.0.1"),
        *("192.0.2.1", "198.18.0.1", "2001:db8::1", "2002:a00:1::", "64:ff9b::a00:1", "2001::1"),
        "fec0::1",
    ],
    "reserved": ["255.255.255.255", "240.0.0.1", "0.1.2.3", "64:ff9b:1::1", "::ffff:0:808:808"],
    "name": [
        *("f3a1b2c4-0000-4000-8000-000000000001.local", "localhost", "metadata.google.internal", "a.example.org"),
        *("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3", "fe80::1%eth0", "[::1]", ""),
    ],
}


@pytest.mark.parametrize(("reason", "address"), [(why, one) for why, them in REFUSED.items() for one in them])
def test_what_no_client_needs_is_not_tried(reason: str, address: str) -> None:
    checked = candidates()
    assert not tried(checked, line(address))
    assert dict(checked.refused) == {reason: 1}


@pytest.mark.parametrize("port", [0, 1, 22, 53, 123, 161, 443, 1023])
def test_no_service_is_tried(port: int) -> None:
    assert not tried(candidates(), line("8.8.8.8", port))
    assert tried(candidates(), line("8.8.8.8", 1024))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (line("8.8.8.8", transport="tcp"), "unused"),
        (line("8.8.8.8", component="2"), "unused"),
        (line("8.8.8.8", kind="other"), "malformed"),
        (line("8.8.8.8", 65536), "malformed"),
        (line("8.8.8.8", "-1"), "malformed"),
        (line("8.8.8.8", "４００００"), "malformed"),
        ("1 1 UDP high 8.8.8.8 40000 typ host", "malformed"),
        ("", "malformed"),
        ("1 1 UDP 1 8.8.8.8 40000", "malformed"),
        (" 1 UDP 1 8.8.8.8 40000 typ host", "malformed"),
        ("1  1 UDP 1 8.8.8.8 40000 typ host", "malformed"),
        ("1\xa01 1 UDP 1 8.8.8.8 40000 typ host", "malformed"),
        ("1\xa01\xa0udp\xa01\xa010.0.0.5\xa02000\xa0typ\xa0host 1 udp 1 8.8.8.8 9999 typ host", "malformed"),
    ],
)
def test_what_leads_nowhere_is_passed_over(value: str, reason: str) -> None:
    checked = candidates()
    assert not tried(checked, value)
    assert dict(checked.refused) == {reason: 1}


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (line("8.8.8.8"), "1 1 udp 2114977791 8.8.8.8 40000 typ host"),
        (
            "a+/ 1 udp 007 8.8.8.8 0040000 typ srflx raddr 10.0.0.1 rport 9 ufrag x",
            "a+/ 1 udp 7 8.8.8.8 40000 typ srflx",
        ),
        (line("2A00:1450:4001:0830::200E"), "1 1 udp 2114977791 2a00:1450:4001:830::200e 40000 typ host"),
        (line("::FFFF:8.8.8.8"), "1 1 udp 2114977791 8.8.8.8 40000 typ host"),
    ],
)
def test_what_is_passed_on_is_written_anew_from_what_was_checked(value: str, passed: str) -> None:
    assert candidates().keep([value]) == [passed]


def test_where_the_client_asks_from_it_may_be_tried() -> None:
    for client in ("10.1.2.3", "::ffff:10.1.2.3"):
        for named in ("10.1.2.3", "::ffff:10.1.2.3"):
            assert tried(candidates(client=client), line(named))
        assert not tried(candidates(client=client), line("10.1.2.4"))


def test_an_ipv4_address_that_an_ipv6_client_wraps_is_not_where_it_asks_from() -> None:
    for client in ("2002:a00:1::5", "64:ff9b::a00:1"):
        assert not tried(candidates(client=client), line("10.0.0.1"))


@pytest.mark.parametrize("address", [*REFUSED["reserved"], *REFUSED["loopback"], *REFUSED["own"]])
def test_opened_networks_open_private_addresses_alone(address: str) -> None:
    assert not tried(candidates(networks=["0.0.0.0/0", "::/0"]), line(address))


@pytest.mark.parametrize("client", ["127.0.0.1", "192.168.7.20", "169.254.169.254", "::1"])
def test_but_never_this_machine_or_what_is_special(client: str) -> None:
    assert not tried(candidates(client=client), line(client))


def test_a_client_has_so_many_and_no_more_and_the_same_one_counts_once() -> None:
    checked = candidates(most=2)
    kept = checked.keep([line("8.8.8.8", port) for port in (2000, 2001, 2000, 2002, 2001)])
    assert [value is not None for value in kept] == [True, True, True, False, True]
    assert dict(checked.refused) == {"too many": 1}


def test_this_machines_addresses_are_read_once_for_a_message_and_its_first_candidates_looked_at() -> None:
    asked: list[int] = []

    def own() -> set[str]:
        asked.append(1)
        return OWN

    checked = candidates(own=own, client="192.168.7.20", most=1000)
    kept = checked.keep(
        [line("10.0.0.1", transport="tcp")] * 60 + [line("8.8.8.8", port) for port in range(2000, 2440)]
    )
    assert [place for place, value in enumerate(kept) if value is not None] == [60, 61, 62, 63]
    assert dict(checked.refused) == {"unused": 60, "too many": 436}
    assert (checked.suspicious, checked.suspicious, len(asked)) == (436, 436, 1)
    assert checked.keep([]) == []
    assert len(asked) == 1
    assert checked.keep([line("8.8.4.4")]) == ["1 1 udp 2114977791 8.8.4.4 40000 typ host"]
    assert len(asked) == 2


def test_only_what_no_honest_client_names_is_suspicious() -> None:
    checked = candidates()
    for address in ("10.0.0.1", "f3a1b2c4.local", "127.0.0.1", "169.254.169.254"):
        tried(checked, line(address))
    tried(checked, line("8.8.8.8", transport="tcp"))
    tried(checked, line("8.8.8.8", 53))
    assert checked.suspicious == 3


def test_who_is_on_this_machine_has_its_addresses() -> None:
    for client, suspicious in (("127.0.0.1", 1), ("192.168.7.20", 1), ("8.8.8.8", 2)):
        checked = candidates(client=client)
        assert not tried(checked, line("192.168.7.20"))
        assert not tried(checked, line("127.0.0.1"))
        assert checked.suspicious == suspicious
