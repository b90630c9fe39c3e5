"""The rules by which alerts are judged, on runs written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.evaluation import anomaly, bags, people, smoking
from gateway.evaluation.faces import Gallery
from gateway.evaluation.faces import judge as judge_faces
from gateway.evaluation.material import Clip, Still
from gateway.evaluation.run import Row, Run, Told
from gateway.evaluation.verdict import Summary, Verdict
from gateway.results import Box

LEFT = {  # left at 10, owner gone at 12, back at 60; the bag in the middle of a picture of 100x100 px
    "kind": "abandoned bag",
    "bag_box_xywh": [40, 40, 20, 20],
    "owner_starts_leaving": 10.0,
    "owner_out_of_view": 12.0,
    "unattended": [12.0, 60.0],
    "owner_reaches_bag": 62.0,
    "bag_moves_off": 65.0,
}
BAG, ELSEWHERE = Box(0.42, 0.42, 0.58, 0.58), Box(0.8, 0.8, 0.9, 0.9)


def clip(truth: Mapping[str, Any], seconds: float = 70.0) -> Clip:
    return Clip("clip", Path("clip.mp4"), truth, size=(100, 100), seconds=seconds)


def run(*events: Told, seconds: float = 70.0, rows: Sequence[Row] = ()) -> Run:
    return Run(tuple(rows) or (Row(0.0, {}), Row(seconds, {})), events)


def told(kind: str, at: float, *, until: float | None = None, box: Box | None = BAG, **data: Any) -> Told:
    return Told(f"{kind}-{at}", kind, "x", at, at if until is None else until, box=box, data=data)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


# --- bags ------------------------------------------------------------------------------------------------------------

TAKEN = told("removed", 65.5, by_owner=True)


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ((told("abandoned", 21.0), TAKEN), []),
        ((told("abandoned", 20.0), TAKEN), []),
        ((told("abandoned", 27.0), TAKEN), []),
        ((told("abandoned", 19.8), TAKEN), ["not early"]),
        ((told("abandoned", 27.1), TAKEN), ["found"]),
        ((TAKEN,), ["found"]),
        ((told("abandoned", 21.0), told("abandoned", 30.0), TAKEN), ["once"]),
        ((told("abandoned", 21.0), told("abandoned", 30.0, box=ELSEWHERE), TAKEN), ["nothing else"]),
        ((told("abandoned", 21.0, box=ELSEWHERE), TAKEN), ["found", "nothing else"]),
        ((told("abandoned", 21.0),), ["removed by its owner"]),
        ((told("abandoned", 21.0), told("removed", 65.5, by_owner=False)), ["removed by its owner"]),
        ((told("abandoned", 21.0), told("removed", 40.0, by_owner=True)), ["removed by its owner"]),
        ((told("abandoned", 21.0), told("removed", 40.0, by_owner=False), TAKEN), ["removed by its owner"]),
        ((told("abandoned", 21.0), told("removed", 71.0, by_owner=True)), ["removed by its owner"]),
    ],
)
def test_a_bag_that_is_left(events: tuple[Told, ...], wrong: list[str]) -> None:
    assert failed(bags.judge(clip(LEFT), run(*events), "original")) == wrong


def test_how_right_alerts_for_bags_were_is_counted() -> None:
    events = (told("abandoned", 21.0), told("abandoned", 5.0, box=ELSEWHERE), TAKEN)
    verdict = bags.judge(clip(LEFT), run(*events), "original")
    assert (verdict.hits, verdict.misses, verdict.false, verdict.delays, verdict.seconds) == (1, 0, 1, (1.0,), 70.0)


def test_an_early_alert_is_a_false_one_and_the_bag_is_missed() -> None:
    verdict = bags.judge(clip(LEFT), run(told("abandoned", 19.0), TAKEN), "original")
    assert (verdict.hits, verdict.misses, verdict.false) == (0, 1, 1)


@pytest.mark.parametrize("kind", ["negative for abandoned bag", "people walking"])
def test_no_bag_is_left_no_alert(kind: str) -> None:
    assert failed(bags.judge(clip({"kind": kind}), run(), "original")) == []
    verdict = bags.judge(clip({"kind": kind}), run(told("abandoned", 5.0)), "original")
    assert (failed(verdict), verdict.false) == (["no alert"], 1)


@pytest.mark.parametrize(
    ("truth", "seconds", "abandoned_s"),
    [
        (LEFT, 70.0, 10.0),
        ({**LEFT, "unattended": [12.0, 27.0]}, 70.0, 10.0),
        ({**LEFT, "unattended": [12.0, 26.9]}, 70.0, 3.0),
        ({"kind": "abandoned bag", "owner_starts_leaving": 2.0, "owner_out_of_view": 4.0}, 8.0, 3.0),
        ({"kind": "people"}, 30.0, 10.0),
        ({"kind": "negative for abandoned bag"}, 8.0, 3.0),
        ({**LEFT, "options": {"bags": {"abandoned_s": 20}}}, 70.0, 20),
    ],
)
def test_the_times_asked_for_depend_on_how_long_the_bag_is_alone(
    truth: dict[str, Any], seconds: float, abandoned_s: float
) -> None:
    assert bags.options(clip(truth, seconds))["bags"]["abandoned_s"] == abandoned_s


# --- smoking ---------------------------------------------------------------------------------------------------------

SMOKES = {"kind": "smoking", "smoking": [[10.0, 20.0], [40.0, 50.0]]}


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ((told("smoking", 12.0, until=19.0), told("smoking", 41.0, until=49.0)), []),
        ((told("smoking", 12.0, until=45.0),), []),
        ((told("smoking", 12.0),), ["found"]),
        ((told("smoking", 12.0, until=45.0), told("smoking", 30.0)), ["nothing else"]),
        ((), ["found"]),
    ],
)
def test_smoking_is_found_in_its_times_and_not_elsewhere(events: tuple[Told, ...], wrong: list[str]) -> None:
    assert failed(smoking.judge(clip(SMOKES), run(*events), "original")) == wrong


def test_where_nobody_smokes_nothing_is_told() -> None:
    assert failed(smoking.judge(clip({"kind": "people"}), run(), "original")) == []
    assert failed(smoking.judge(clip({"kind": "people"}), run(told("smoking", 3.0)), "original")) == ["nothing else"]


def seen_alone(*, seen: bool) -> Run:
    found = [{"label": "cigarette", "score": 0.9, "box": [0, 0, 1, 1]}] if seen else []
    return run(rows=[Row(0.0, {"objects": {"detections": found}})])


@pytest.mark.parametrize(
    ("told_", "wrong"),
    [((True, True, False), []), ((True, False, False), ["recall"]), ((True, True, True), ["precision"])],
)
def test_pictures_are_told_as_rightly_as_the_weights_see_them(told_: tuple[bool, ...], wrong: list[str]) -> None:
    stills = [Still(Path(f"{number}.jpg"), {"smoking": number < 2}) for number in range(3)]
    runs = [run(*([told("smoking", 0.0)] if say else [])) for say in told_]
    alone = [seen_alone(seen=number < 2) for number in range(3)]
    assert failed(smoking.judge_stills(stills, runs, alone, "original")) == wrong


# --- anomalies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ((told("fall", 5.0),), []),
        ((told("fall", 9.6),), []),
        ((told("fall", 9.7),), ["fall"]),
        ((told("fall", 3.0),), ["fall"]),
        ((told("fall", 5.0), told("fall", 30.0)), ["fall"]),
        ((), ["fall"]),
        ((told("fall", 5.0), told("running", 30.0)), []),
    ],
)
def test_a_fall_is_told_within_seconds_and_once(events: tuple[Told, ...], wrong: list[str]) -> None:
    assert failed(anomaly.judge(clip({"kind": "anomaly: fall", "fall": [4.0, 4.6]}), run(*events), "o")) == wrong


def test_other_anomalies_are_judged_where_the_truth_names_them() -> None:
    truth = {"kind": "anomaly", "running": [[1.0, 2.0], [20.0, 21.0]]}
    assert failed(anomaly.judge(clip(truth), run(told("running", 1.5), told("running", 21.0)), "o")) == []
    assert failed(anomaly.judge(clip(truth), run(told("running", 1.5)), "o")) == ["running"]


# --- people ----------------------------------------------------------------------------------------------------------


def crowd(*ids: int) -> dict[str, Any]:
    return {"tracks": {"detections": [{"label": "person", "track_id": one, "box": [0, 0, 1, 1]} for one in ids]}}


ONE_BY_ONE = {
    "kind": "people, one at a time",
    "person_1_visible": [0.0, 10.0],
    "person_2_visible": [20.0, 30.0],
    "empty": [[11.0, 19.0]],
}


def one_by_one(first: int, second: int, between: tuple[int, ...] = (), beside: tuple[int, ...] = ()) -> Run:
    rows = [
        Row(at, crowd(first, *beside) if at <= 10 else crowd(*between) if at < 20 else crowd(second))
        for at in range(31)
    ]
    return run(rows=rows)


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (one_by_one(1, 2), []),
        (one_by_one(1, 1), ["ids differ"]),
        (one_by_one(1, 2, between=(3,)), ["empty 11-19"]),
        (one_by_one(1, 2, beside=(4,)), ["not too many"]),
    ],
)
def test_people_one_at_a_time(seen: Run, wrong: list[str]) -> None:
    assert failed(people.judge(clip(ONE_BY_ONE), seen, "original")) == wrong


@pytest.mark.parametrize(("ids", "right"), [(6, True), (5, True), (4, False), (7, True), (8, False)])
def test_a_count_may_be_wrong_by_one_or_a_fifth(ids: int, right: bool) -> None:
    seen = run(rows=[Row(at / 10, crowd(*range(ids))) for at in range(100)])
    verdict = people.judge(clip({"kind": "people", "persons_counted_by_eye": {"5.0": 6}}), seen, "original")
    assert verdict.passed is right


# --- faces -----------------------------------------------------------------------------------------------------------

SHOTS = {
    "kind": "faces in video",
    "shots": [{"t": [0.0, 5.0], "who": ["ann (frontal)", "a stranger"]}, {"t": [5.5, 9.0], "who": ["bob (profile)"]}],
}
GALLERY = Gallery(dict.fromkeys(("ann", "bob", "eve"), ()), {}, {})


def named(*who: tuple[float, float, str]) -> Run:
    """Each of these is named from one time to another."""
    rows = []
    for step in range(91):
        at = step / 10
        there = [{"label": "face", "person": name} for begin, end, name in who if begin <= at <= end]
        rows.append(Row(at, {"faces": {"detections": there}}))
    return run(rows=rows)


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (named((0.5, 5.0, "ann")), []),
        (named((0.5, 5.0, "ann"), (6.0, 9.0, "bob")), []),
        (named((3.5, 5.0, "ann")), ["ann named"]),
        (named((0.5, 7.0, "ann")), ["nobody else"]),
        (named((0.5, 5.0, "ann"), (7.0, 7.0, "eve")), ["nobody else"]),
    ],
)
def test_only_who_is_there_is_named_and_who_is_in_full_view_is(seen: Run, wrong: list[str]) -> None:
    assert failed(judge_faces(clip(SHOTS), seen, "original", GALLERY)) == wrong


# --- sums ------------------------------------------------------------------------------------------------------------


def test_a_summary_adds_up_and_says_nothing_where_there_is_nothing() -> None:
    one = Verdict("bags", "a", "half", hits=2, misses=1, false=1, delays=(1.0, 4.0), seconds=1800)
    two = Verdict("bags", "b", "half", hits=1, false=1, delays=(2.0,), seconds=1800)
    other = Verdict("bags", "b", "original", false=9, seconds=99)
    found = Summary.of("bags", "half", [one, two, other])
    assert (found.precision, found.recall, found.delay_s, found.false_per_hour, found.hours) == (
        0.6,
        0.75,
        2.0,
        2.0,
        1.0,
    )
    nothing = Summary.of("bags", "half", [])
    assert (nothing.precision, nothing.recall, nothing.delay_s, nothing.false_per_hour) == (None, None, None, None)
