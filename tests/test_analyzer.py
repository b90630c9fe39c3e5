"""What an author subclasses: a broken contract is refused with the part that breaks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import Analyzer, Frame, Result, SessionInfo
from gateway.analyzer import NoOptions, check_analyzer, fill_options, options_schema
from gateway.errors import UnknownOption
from gateway.version import PLUGIN_API


@dataclass(frozen=True)
class Wishes:
    threshold: float = 0.5
    labels: tuple[str, ...] = ("person",)
    zones: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be 0-1, got {self.threshold}")


class Good(Analyzer):
    name = "good"
    Options = Wishes

    def analyze(self, frame: Frame, memory: Any) -> Result:
        return Result()


@dataclass
class Demanding:
    path: str


def broken(**parts: Any) -> type[Analyzer]:
    return type("Broken", (Good,), parts)


def test_a_good_analyzer_passes() -> None:
    check_analyzer(Good)
    check_analyzer(broken(name="acme.queue-2"))


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (broken(name=""), "Broken.name must be lower-case letters, digits, - and _, got ''"),
        (broken(name="Good"), "Broken.name must be lower-case letters, digits, - and _, got 'Good'"),
        (broken(name="a.b.c"), "Broken.name must be lower-case letters, digits, - and _, got 'a.b.c'"),
        (broken(name=None), "Broken.name must be lower-case letters, digits, - and _, got None"),
        (broken(analyze=Analyzer.analyze), r"analyzer good: Broken does not define analyze(frame, memory)"),
        (broken(Options={}), "analyzer good: Options must be a dataclass, got {}"),
        (broken(Options=Demanding), "analyzer good: option path has no default; every option needs one"),
        (broken(needs="objects"), "analyzer good: needs must be a tuple of names, got 'objects'"),
        (broken(permissions="network"), "analyzer good: permissions must be a tuple of names, got 'network'"),
        (broken(permissions=("root",)), "analyzer good: there is no permission root; there are files, network"),
        (broken(api=">=2,<3"), f"analyzer good is written for plugin API >=2,<3, this is {PLUGIN_API}"),
        (broken(api="newest"), "api must be a version range such as >=1,<2, got 'newest'"),
    ],
)
def test_a_broken_contract_is_refused_with_the_part(cls: type[Analyzer], complaint: str) -> None:
    with pytest.raises(TypeError) as refused:
        check_analyzer(cls)
    assert str(refused.value) == complaint


def test_options_are_filled_and_converted() -> None:
    assert fill_options(Good, {"threshold": "0.7", "labels": ["cat", "dog"]}) == Wishes(0.7, ("cat", "dog"))
    assert fill_options(Good, {}) == Wishes()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"treshold": 1}, "analyzer good has no option treshold; did you mean threshold?"),
        ({"zz": 1}, "analyzer good has no option zz; it has threshold, labels, zones"),
        ({"threshold": 2}, "analyzer good: threshold must be 0-1, got 2.0"),
        (
            {"zones": {"hall": ["x"]}},
            "analyzer good, option zones.hall.0: Input should be a valid number,"
            " unable to parse string as a number, got 'x'",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_one(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UnknownOption) as refused:
        fill_options(Good, values)
    assert str(refused.value) == complaint


def test_an_analyzer_without_options_takes_none() -> None:
    class Plain(Good):
        Options = NoOptions  # type: ignore[assignment]

    with pytest.raises(UnknownOption, match="analyzer good has no option fast; it has no options"):
        fill_options(Plain, {"fast": True})


def test_the_schema_shows_every_option_with_its_default() -> None:
    properties = options_schema(Good)["properties"]
    assert {name: about["default"] for name, about in properties.items() if "default" in about} == {
        "threshold": 0.5,
        "labels": ["person"],
    }


def test_a_batch_is_one_call_a_frame_unless_the_author_knows_better() -> None:
    class Counting(Good):
        def analyze(self, frame: Frame, memory: Any) -> Result:
            memory["seen"] = memory.get("seen", 0) + frame.seq
            return Result(measures={"seen": memory["seen"]})

    frames = [Frame(seq, 0.0, 1, 1, b"") for seq in (1, 2)]
    first, second = Counting(Wishes()).analyze_batch(frames, [{"seen": 10}, {}])
    assert (first.measures, second.measures) == ({"seen": 11}, {"seen": 2})


def test_changed_options_begin_a_new_memory_unless_the_author_knows_better() -> None:
    memory = {"seen": 1}
    assert Good(Wishes()).configure(SessionInfo("s"), memory) == {}
    assert memory == {"seen": 1}


def test_memory_is_a_new_dict_for_every_session() -> None:
    analyzer = Good(Wishes())
    one, other = (analyzer.open(SessionInfo(name)) for name in "ab")
    assert (one, other, one is not other) == ({}, {}, True)
