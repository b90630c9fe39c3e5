"""Candidates: which addresses a WebRTC client may have tried from here, as a table."""

from __future__ import annotations

import pytest

from gateway.ice import Candidates

OWN = {"192.168.7.20", "127.0.0.1", "::1", "203.0.113.5"}


def candidates(**wish: object) -> Candidates:
    given = {"networks": ["192.168.7.0/24", "fd12::/16"], "most": 16, "own": lambda: OWN, **wish}
    return Candidates(**given)  # type: ignore[arg-type]


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
    assert candidates().keep(line(address))


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
    ],
    "reserved": ["255.255.255.255", "240.0.0.1", "0.1.2.3"],
    "name": [
        *("f3a1b2c4-0000-4000-8000-000000000001.local", "localhost", "metadata.google.internal", "a.example.org"),
        *("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3", "fe80::1%eth0", "[::1]", ""),
    ],
}


@pytest.mark.parametrize(("reason", "address"), [(why, one) for why, them in REFUSED.items() for one in them])
def test_what_no_client_needs_is_not_tried(reason: str, address: str) -> None:
    checked = candidates()
    assert not checked.keep(line(address))
    assert dict(checked.refused) == {reason: 1}


@pytest.mark.parametrize("port", [0, 1, 22, 53, 123, 161, 443, 1023])
def test_no_service_is_tried(port: int) -> None:
    assert not candidates().keep(line("8.8.8.8", port))
    assert candidates().keep(line("8.8.8.8", 1024))


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
    ],
)
def test_what_leads_nowhere_is_passed_over(value: str, reason: str) -> None:
    checked = candidates()
    assert not checked.keep(value)
    assert dict(checked.refused) == {reason: 1}


def test_where_the_client_asks_from_it_may_be_tried() -> None:
    assert candidates(client="10.1.2.3").keep(line("10.1.2.3"))
    assert not candidates(client="10.1.2.3").keep(line("10.1.2.4"))


@pytest.mark.parametrize("client", ["127.0.0.1", "192.168.7.20", "169.254.169.254", "::1"])
def test_but_never_this_machine_or_what_is_special(client: str) -> None:
    assert not candidates(client=client).keep(line(client))


def test_a_client_has_so_many_and_no_more_and_the_same_one_counts_once() -> None:
    checked = candidates(most=2)
    kept = [checked.keep(line("8.8.8.8", port)) for port in (2000, 2001, 2000, 2002, 2001)]
    assert kept == [True, True, True, False, True]
    assert dict(checked.refused) == {"too many": 1}


def test_only_what_no_honest_client_names_is_suspicious() -> None:
    checked = candidates()
    for address in ("10.0.0.1", "f3a1b2c4.local", "127.0.0.1", "169.254.169.254"):
        checked.keep(line(address))
    checked.keep(line("8.8.8.8", transport="tcp"))
    checked.keep(line("8.8.8.8", 53))
    assert checked.suspicious == 3


def test_who_is_on_this_machine_has_its_addresses() -> None:
    for client, suspicious in (("127.0.0.1", 1), ("192.168.7.20", 1), ("8.8.8.8", 2)):
        checked = candidates(client=client)
        assert not checked.keep(line("192.168.7.20"))
        assert not checked.keep(line("127.0.0.1"))
        assert checked.suspicious == suspicious
