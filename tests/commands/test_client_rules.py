"""Pacing and closing, held to the vectors that all our clients share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.client_rules import Pacing, Rest, Retry, Stop, after_asking, settled

VECTORS = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> list[Any]:
    items = json.loads((VECTORS / name).read_text())["vectors"]
    return [pytest.param(item, id=item["name"]) for item in items]


@pytest.mark.parametrize("vector", vectors("pacing.json"))
def test_pacing(vector: dict[str, Any]) -> None:
    pacing = Pacing()
    for step in vector["steps"]:
        match step["do"]:
            case "hello":
                pacing.hello(step["message"])
            case "ack":
                pacing.ack(step["message"], step["at"])
            case "slow_down":
                pacing.slow_down(step["message"])
            case "disconnect":
                pacing.disconnect()
            case "offer":
                assert pacing.offer(step["at"]) == step.get("sent", step.get("dropped")), step
            case other:
                pytest.fail(f"unknown step {other}")


@pytest.mark.parametrize("vector", vectors("closes.json"))
def test_closing(vector: dict[str, Any]) -> None:
    rest = vector["rest"]
    answer = (
        Rest(None) if rest in ("down", None) else Rest(rest["status"], rest.get("code", ""), rest.get("reason", ""))
    )
    step = settled(vector["code"], vector["bye"]) or after_asking(answer)
    if vector["then"] == "stop":
        assert step == Stop(vector["reason"])
    else:
        assert isinstance(step, Retry)
        assert step.after_s * 1000 >= vector["at_least_ms"]
