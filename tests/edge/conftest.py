"""A gateway whose limits are so small that a test reaches them at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import Server, running

TIGHT = {
    "HEADER_S": "0.8",
    "KEEP_ALIVE_S": "1.7",
    "BODY_S": "1.0",
    "MAX_HEADER_BYTES": "8192",
    "MAX_HEADERS": "40",
    "MAX_PIPELINED": "4",
    "MAX_RANGES": "8",
    "MAX_MESSAGE_BYTES": "65536",
    "MAX_BODY_BYTES": "4096",
    "MAX_JSON_DEPTH": "8",
    "MAX_FRAGMENTS": "64",
    "MAX_CONTROL_BYTES": "4096",
    "SEND_BUFFER_BYTES": "4096",
    "ADMISSION_PER_S": "0",
    "LOG_REPEAT_S": "0",
}


def limits(**values: str) -> dict[str, str]:
    """Settings of the section `limits` as environment variables."""
    return {f"FRAMEGATE_LIMITS__{name}": value for name, value in values.items()}


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared, so every test opens streams of its own; no test may find a traceback in its log."""
    with running(tmp_path_factory.mktemp("tight"), **limits(**TIGHT)) as server:
        yield server
        assert "Traceback" not in server.log, server.log[-4000:]
