"""What is counted on a stream, in the words of older clients."""

from __future__ import annotations

import pytest

from gateway.errors import NoPicture
from gateway.results import Result
from tests.clock import now, simulated, until
from tests.doubles import FakeAnalyzer, FakeWorker, engine, jpeg, stream


@simulated
async def test_the_counts_are_those_of_each_analyzers_last_result() -> None:
    faces = FakeAnalyzer("faces", look=lambda job: Result(measures={"faces": 3, "ids": 1}))
    bags = FakeAnalyzer("bags", look=lambda job: Result(measures={"bags": 2, "owned": 2, "unattended": 0}))
    async with engine(FakeWorker(faces, bags)) as hub:
        session = await stream(hub, "faces", "bags")
        with pytest.raises(NoPicture):
            session.measures()
        await until(now() + 1)
        session.put(jpeg())
        await until(now() + 1)
        found = session.measures()
        assert {key: found[key] for key in ("camera_id", "faces", "ids", "bags", "owned")} == {
            "camera_id": None,
            "faces": 3,
            "ids": 1,
            "bags": 2,
            "owned": 2,
        }
        assert found["measures"]["bags"] == {"bags": 2, "owned": 2, "unattended": 0}


@simulated
async def test_what_is_not_looked_for_is_counted_as_none() -> None:
    async with engine(FakeWorker(FakeAnalyzer("bags", look=lambda job: Result(measures={"bags": 1})))) as hub:
        session = await stream(hub, "bags")
        await until(now() + 1)
        session.put(jpeg())
        await until(now() + 1)
        assert [session.measures()[key] for key in ("faces", "ids", "bags", "owned")] == [0, 0, 1, 0]


@simulated
async def test_sessions_of_a_day_are_numbered_from_one() -> None:
    async with engine(FakeWorker(FakeAnalyzer("bags"))) as hub:
        ids = [(await stream(hub, "bags")).session_id for _ in range(3)]
    assert [one[-5:] for one in ids] == ["_0001", "_0002", "_0003"]
    assert len({one[:-5] for one in ids}) == 1
