"""A plugin can write to its worker's socket. Whatever it says there costs it that worker, and nobody else anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.hub import Hub
from gateway.engine.reports import check_alone, check_call, check_result
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.results import Box, Detection, Result, Sighting, result_to_json
from tests.doubles import jpeg, settings

SOURCE = '''
"""Writes what it is told in its options to the gateway, before it returns."""
import os, socket, stat, struct, time
from dataclasses import dataclass
from gateway import Analyzer, Result, hookimpl

@dataclass(frozen=True)
class Options:
    header: str = ""
    times: int = 1
    length: int = -1

def wire():
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return socket.socket(fileno=os.dup(number))
        except OSError:
            pass

class Hostile(Analyzer):
    name = "hostile"
    Options = Options

    def open(self, session):
        return session.options

    def analyze(self, frame, memory):
        if memory.header:
            text = memory.header.encode()
            length = len(text) if memory.length < 0 else memory.length
            with wire() as there:
                for _ in range(memory.times):
                    there.sendall(struct.pack(">II", length, 0) + text)
            time.sleep(0.2)
        return Result(measures={"fine": 1})

class Neighbour(Analyzer):
    name = "neighbour"

    def analyze(self, frame, memory):
        return Result(measures={"fine": 1})

@hookimpl
def register_analyzers():
    return [%s]
'''

GOOD = result_to_json(
    Result((Detection("cup", 0.5, Box(0, 0, 1, 1)),), {"count": 1.0}, (Sighting("seen", box=Box(0, 0, 1, 1)),))
)


def call(outcome: Any, **changed: Any) -> dict[str, Any]:
    return {"t": "call", "id": 0, "analyzer": "hostile", "ms": 1.0, "outcomes": [outcome], **changed}


def result(**changed: Any) -> dict[str, Any]:
    return call({"result": {**GOOD, **changed}})


def detection(**changed: Any) -> dict[str, Any]:
    return result(detections=[{**GOOD["detections"][0], **changed}])


def nested(floors: int) -> Any:
    return [nested(floors - 1)] if floors else 1


# What it says, and the reason it is ended for.
SAID: list[tuple[str, Any, str]] = [
    ("no JSON", b"{{{", "sent no JSON"),
    ("no object", [1, 2, 3], "a message is an object, got list"),
    ("nothing known", {"t": "surprise"}, "there is no message 'surprise'"),
    ("no kind", {}, "there is no message 'None'"),
    ("an unhashable kind", {"t": {}}, "there is no message '{}'"),
    ("an empty log record", {"t": "log"}, "a log record without level"),
    ("another job", call({"result": GOOD}, id=77), "a report of job 77, expected 0"),
    ("no job", {"t": "call"}, "a report of job None, expected 0"),
    ("done too early", {"t": "done", "id": 0, "rss": 0}, "done before it had answered"),
    ("done without its memory", {"t": "done", "id": 0, "rss": "much"}, "done without the memory it holds"),
    ("another analyzer", call({"result": GOOD}, analyzer="motion"), "expected an answer of hostile"),
    ("alone without end", {"t": "alone", "id": 0, "analyzer": "hostile", "item": 0}, "comes to no end"),
    ("a pong nobody asked for", {"t": "pong"}, "an answer to a ping that nobody asked for"),
    ("a state nobody asked for", {"t": "state", "analyzer": "hostile", "state": "ready"}, "nobody asked for"),
    ("a box outside", detection(box=[0, 0, 2, 1]), "outcomes.0.result.detections.0.box.2"),
]
ANSWERS: list[tuple[str, Any, str]] = [
    ("too many outcomes", call({}, outcomes=[{"result": GOOD}] * 2), "expected 1 outcomes of hostile, got 2"),
    ("no outcomes", call({}, outcomes=None), "outcomes: Input should be a valid list"),
    ("an outcome that is none", call({}), "got nothing"),
    ("two outcomes in one", call({"result": GOOD, "error": "x"}), "got result, error"),
    ("a reason of its own", call({"skipped": "because"}), "outcomes.0.skipped"),
    ("a long error", call({"error": "x" * 5000}), "outcomes.0.error"),
    ("negative time", call({"result": GOOD}, ms=-1), "ms: Input should be greater"),
    ("a result that is none", call({"result": 5}), "outcomes.0.result"),
    ("an unknown part", result(extra=1), "outcomes.0.result.extra"),
    ("a box upside down", detection(box=[0, 1, 1, 0]), "top left, then bottom right"),
    ("a score of text", detection(score="high"), "outcomes.0.result.detections.0.score"),
    ("a label with a bell", detection(label="\x07"), "1-64 printable characters"),
    ("data of 40 floors", result(data={"a": nested(40)}), "deeper"),
]


async def outcome(session: Session, seq: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while session.stages[0].runner.state != "ready":  # noqa: ASYNC110 - nothing rings when it is
            await asyncio.sleep(0.02)
    with session.answers.expect(seq, [session.stages[0].name]) as answer:
        session.put(jpeg(), seq=seq)
        assert await answer.complete(20.0)
    (found,) = answer.analyzers.values()
    return dict(found)


@asynccontextmanager
async def two_workers(folder: Path) -> AsyncIterator[Hub]:
    """A hostile plugin, and a neighbour in a worker of its own."""
    paths = [folder / "hostile.py", folder / "neighbour.py"]
    for path, cls in zip(paths, ("Hostile", "Neighbour"), strict=True):
        path.write_text(SOURCE % cls)
    rules = {"restart_pause_s": 0, "restarts": 1000, "breaker_failures": 1000}
    async with Hub(settings(plugins=[str(path) for path in paths], analysis=rules)).running() as hub:
        yield hub


async def survives(hub: Hub, seq: int, **options: Any) -> str | None:
    """The hostile frame is lost with its worker, and the neighbour does not notice; the reason that is given."""
    neighbour = await hub.open_session(SessionRequest(analyzers=("neighbour",)))
    hostile = await hub.open_session(SessionRequest(analyzers=("hostile",), options={"hostile": options}))
    async with asyncio.timeout(20):
        while max(supervisor.restarts for supervisor in hub.supervisors) < seq:  # noqa: ASYNC110 - nothing rings
            await asyncio.sleep(0.02)
    assert (await outcome(hostile, 0))["dropped"] == "worker_died"
    assert (await outcome(neighbour, 0))["measures"] == {"fine": 1}
    return hub.runners["hostile"].reason


@pytest.mark.slow
@pytest.mark.e2e
async def test_whatever_a_plugin_tells_the_gateway_it_loses_its_own_worker_and_no_other(tmp_path: Path) -> None:
    reasons = {}
    async with two_workers(tmp_path) as hub:
        for number, (name, header, _) in enumerate(SAID):
            text = header.decode() if isinstance(header, bytes) else json.dumps(header)
            reasons[name] = await survives(hub, number, header=text, times=3 if "alone" in name else 1)
        reasons["huge"] = await survives(hub, len(SAID), header="x", length=2**32 - 1)
        restarts = sorted(supervisor.restarts for supervisor in hub.supervisors)
    assert restarts[:-1] == [0] * (len(restarts) - 1)
    expected = {**{name: reason for name, _, reason in SAID}, "huge": "a message of 4294967295 + 0 bytes"}
    assert {name: why for name, why in reasons.items() if expected[name] not in (why or "")} == {}


@pytest.mark.parametrize(("answer", "complaint"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_an_answer_is_what_it_must_be(answer: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_call(answer, "hostile", 1)


def test_a_batch_has_as_many_frames_as_it_has() -> None:
    with pytest.raises(ValueError, match="no frame 5 in a batch of 5"):
        check_alone({"t": "alone", "id": 0, "analyzer": "hostile", "item": 5}, 5)


def test_what_the_worker_makes_passes() -> None:
    assert check_result(GOOD) == GOOD
    check_call(call({"result": GOOD}), "hostile", 1)
