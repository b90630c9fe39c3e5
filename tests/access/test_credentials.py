"""Credentials on a clock of the test's own: how long each holds, how often a wrong one is tried, what is forgotten."""

from __future__ import annotations

import pytest

from gateway.credentials import (
    NOBODY,
    Attempts,
    Caller,
    Credentials,
    Logins,
    Tickets,
    Tokens,
    caller_by,
    caller_in,
    weakness,
)
from gateway.errors import NotFound, TokenLimit
from gateway.settings import Access


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tokens(clock: Clock, live: set[str], most: int = 4) -> Tokens:
    return Tokens(most=most, keep_s=60.0, live=live, clock=clock)


def test_a_token_is_found_by_its_secret_until_it_is_revoked(clock: Clock) -> None:
    known = tokens(clock, {"a"})
    token = known.issue("a", "view")
    cut: list[str] = []
    token.holders.add(lambda: cut.append("cut"))
    assert (known.find(token.secret), known.find(token.secret + "x"), known.find("")) == (token, None, None)
    with pytest.raises(NotFound):
        known.revoke("b", token.id)
    known.revoke("a", token.id)
    assert (known.find(token.secret), known.of("a"), token.revoked, cut) == (None, [], True, ["cut"])


def test_tokens_of_streams_that_ended_are_forgotten_after_a_while(clock: Clock) -> None:
    live = {"a", "b"}
    known = tokens(clock, live)
    token = known.issue("a", "view")
    live.discard("a")
    known.issue("b", "view")
    clock.now += 59
    known.issue("b", "view")
    assert known.find(token.secret) is token
    clock.now += 2
    known.issue("b", "view")
    assert (known.find(token.secret), len(known.of("a")), len(known.of("b"))) == (None, 0, 3)


def test_a_browser_lets_go_of_links_whose_streams_are_forgotten(clock: Clock) -> None:
    live = {"a", "b"}
    known = tokens(clock, live)
    token = known.issue("a", "view")
    _, login = Logins(most=9, life_s=1e6, clock=clock).begin(None, token)
    live.discard("a")
    for _ in range(2):
        known.issue("b", "view")
        clock.now += 61
    assert (token.revoked, caller_in(login).credentials) == (True, (login,))


def test_ten_thousand_streams_leave_no_tokens_behind(clock: Clock) -> None:
    live: set[str] = set()
    known = tokens(clock, live)
    for number in range(10_000):
        live.add(str(number))
        known.issue(str(number), "view")
        live.discard(str(number))
        clock.now += 1
    assert sum(len(known.of(str(number))) for number in range(10_000)) <= 62


def test_a_stream_has_so_many_tokens_and_no_more(clock: Clock) -> None:
    known = tokens(clock, {"a", "b"}, most=2)
    first = known.issue("a", "view")
    known.issue("a", "publish")
    with pytest.raises(TokenLimit):
        known.issue("a", "view")
    known.issue("b", "view")
    known.revoke("a", first.id)
    newest = known.issue("a", "view")
    assert [token.scope for token in known.of("a")] == ["publish", "view"]
    assert known.of("a")[-1] is newest


def test_a_ticket_holds_once_and_for_thirty_seconds(clock: Clock) -> None:
    tickets = Tickets(life_s=30.0, clock=clock)
    admin = Caller(role="admin")
    used, late, soon = (tickets.issue(admin, None, None) for _ in range(3))
    taken = tickets.take(used)
    assert taken is not None
    assert (taken.caller.role, tickets.take(used), tickets.take("fgt_none")) == ("admin", None, None)
    clock.now += 29.9
    assert tickets.take(soon) is not None
    clock.now += 0.1
    assert tickets.take(late) is None


def test_a_login_holds_for_its_time_and_the_oldest_makes_room(clock: Clock) -> None:
    logins = Logins(most=2, life_s=100.0, clock=clock)
    first, oldest = logins.begin("admin")
    second, login = logins.begin("admin")
    third, _ = logins.begin("admin")
    assert (logins.find(first), oldest.revoked, logins.find(second)) == (None, True, login)
    clock.now += 100
    assert (logins.find(second), login.revoked) == (None, True)
    logins.end(third)
    assert logins.find(third) is None


def test_what_is_held_ends_with_the_login_that_ends_first(clock: Clock) -> None:
    token = tokens(clock, {"a"}).issue("a", "view")
    logins = Logins(most=9, life_s=100.0, clock=clock)
    _, first = logins.begin("admin")
    clock.now += 30
    _, second = logins.begin(None)
    assert [logins.left_s(held) for held in ([token], [second, token], [second, first])] == [None, 100.0, 70.0]


def test_wrong_credentials_are_counted_by_address(clock: Clock) -> None:
    attempts = Attempts(most=3, span_s=60.0, clock=clock)
    for _ in range(3):
        assert attempts.wait_s("192.0.2.1") == 0
        attempts.failed("192.0.2.1")
    clock.now += 10
    assert (attempts.wait_s("192.0.2.1"), attempts.wait_s("192.0.2.2")) == (50.0, 0.0)
    clock.now += 50
    assert attempts.wait_s("192.0.2.1") == 0
    attempts.failed("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 0


def test_failures_of_many_addresses_are_not_kept_for_ever(clock: Clock) -> None:
    attempts = Attempts(most=1, span_s=60.0, clock=clock)
    for number in range(10_000):
        attempts.failed(str(number))
    assert sum(attempts.wait_s(str(number)) > 0 for number in range(10_000)) == 4096


def test_two_credentials_allow_what_either_does(clock: Clock) -> None:
    known = tokens(clock, {"a", "b"})
    view, publish, other = known.issue("a", "view"), known.issue("a", "publish"), known.issue("b", "view")
    for pair in ((view, publish), (publish, view)):
        both = caller_by(*pair)
        assert (both.streams, both.credentials) == ({"a": "publish"}, pair)
    assert caller_by(view, other).streams == {"a": "view", "b": "view"}
    assert Caller(role="viewer").with_(Caller(role="operator")).role == "operator"
    assert NOBODY.with_(Caller(role="admin")).with_(NOBODY).role == "admin"
    assert (NOBODY.known, NOBODY.may("any"), NOBODY.may("open")) == (False, False, True)
    assert [caller_by(publish).may(what) for what in ("any", "read", "publish", "operate")] == [True, *[False] * 3]


def test_a_link_in_a_browser_ends_with_its_token(clock: Clock) -> None:
    known = tokens(clock, {"a"})
    token = known.issue("a", "view")
    _, login = Logins(most=9, life_s=9.0, clock=clock).begin(None, token)
    assert (caller_in(login).may("view", "a"), caller_in(login).ambient) == (True, True)
    known.revoke("a", token.id)
    assert (caller_in(login).known, caller_in(login).may("view", "a")) == (False, False)


def test_the_static_token_is_told_from_all_others(clock: Clock) -> None:
    book = Credentials(Access(), "the-static-token", live=set(), clock=clock)
    assert [book.is_static(text) for text in ("the-static-token", "the-static-toke", "", "\x00", "é\udcff")] == [
        True,
        *[False] * 4,
    ]
    found = book.bearer("the-static-token")
    assert (found and found.role, book.bearer("fgv_no")) == ("admin", None)
    none = Credentials(Access(), None, live=set(), clock=clock)
    assert (none.is_static(""), none.bearer("")) == (False, None)


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        ("0123456789abcdef", None),
        ("correct horse battery", "holds spaces"),
        ("schlüssel-und-schloss", "holds spaces"),
        ("0123456789abcde", "has 15 characters"),
        ("", "is known"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "is known"),
        ("change-me", "is known"),
        ("Your-Secret-Key-Change-In-Production", "is known"),
        ("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", "is known"),
    ],
)
def test_a_weak_secret_is_known_as_one(secret: str, found: str | None) -> None:
    said = weakness(secret, 16)
    assert said is None if found is None else (said or "").startswith(found)
