"""A gateway that asks everybody for a credential, and one stream's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.access.door import TOKEN, bearer
from tests.server import Server, running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared, so every test opens streams of its own. Wrong credentials are answered one by one, however many."""
    with running(tmp_path_factory.mktemp("guarded"), AUTH_TOKEN=TOKEN, FRAMEGATE_ACCESS__FAILURES="1000000") as server:
        yield server


@pytest.fixture
def stream(guarded: Server) -> dict[str, Any]:
    """The answer of POST /stream/request: a stream of the test's own, with both its tokens."""
    answer = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(autouse=True)
def _no_cookies(request: pytest.FixtureRequest) -> None:
    """The shared client keeps what it is given; nobody here wants what another test was given."""
    if "guarded" in request.fixturenames:
        request.getfixturevalue("guarded").http.cookies.clear()
