"""A real gateway, started as a child process, and what it is asked with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from framegate_client import AsyncClient, Client

from clients.python.tests.peer import Peer
from tests.server import Server, running

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"
STREAMS = 8  # so few that a test can fill the gateway


def vectors(name: str) -> list[Any]:
    """For `parametrize`: each vector under its name."""
    found = json.loads((VECTORS / name).read_text())["vectors"]
    return [pytest.param(vector, id=vector["name"]) for vector in found]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared, so every test ends the streams it opened."""
    with running(tmp_path_factory.mktemp("gateway"), FRAMEGATE_LIMITS__MAX_SESSIONS=str(STREAMS)) as found:
        yield found


@pytest.fixture
def blocking(server: Server) -> Iterator[Client]:
    with Client(server.url, trust_env=False) as client:
        yield client
        for stream in client.list():
            client.delete(stream.stream_id)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, trust_env=False) as client:
        yield client
        for stream in await client.list():
            await client.delete(stream.stream_id)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as peer:
        yield peer
