"""Every error the gateway raises on purpose: its HTTP status, close code and word."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.errors import GatewayError, SessionEnded


def tree(cls: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for child in cls.__subclasses__():
        yield child
        yield from tree(child)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    told = re.findall(r"[├└]── (\w+) +(\d+) +(\d+)", errors.__doc__ or "")
    assert told == [(cls.__name__, str(cls.status), str(cls.close_code)) for cls in tree()]


@pytest.mark.parametrize("cls", list(tree()), ids=lambda cls: cls.__name__)
def test_every_error_has_a_word_of_its_own(cls: type[GatewayError]) -> None:
    assert re.fullmatch(r"[a-z_]+", cls.code)
    assert [other for other in tree() if other.code == cls.code] == [cls]


@pytest.mark.parametrize("cls", list(tree()), ids=lambda cls: cls.__name__)
def test_a_close_code_is_the_applications_or_one_that_a_server_may_send(cls: type[GatewayError]) -> None:
    assert 4400 <= cls.close_code <= 4499 or cls.close_code in (1009, 1011, 1013)


@pytest.mark.parametrize("cls", list(tree()), ids=lambda cls: cls.__name__)
def test_a_peers_mistake_is_not_ours(cls: type[GatewayError]) -> None:
    """4400-4499 and 1009 (too big) go with 4xx, 1011 and 1013 with 5xx."""
    assert (cls.close_code >= 4400 or cls.close_code == 1009) == (400 <= cls.status < 500)


def test_an_error_may_be_more_precise_than_its_class() -> None:
    error = errors.BadImage("it was cut", code="truncated")
    assert (str(error), error.detail, error.code, error.status) == ("it was cut", "it was cut", "truncated", 422)
    assert errors.BadImage.code == "undecodable"


def test_an_ended_session_says_why() -> None:
    assert SessionEnded("the stream has ended: deleted", reason="deleted").reason == "deleted"
