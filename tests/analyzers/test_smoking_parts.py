"""What a view shows, what can be a cigarette of whom, and when votes are enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analyzers._detector import Detector, Selection
from analyzers._smoking_evidence import Surroundings, agreed
from analyzers._smoking_view import View, head_height
from analyzers._smoking_votes import Seen, Votes
from analyzers.smoking import SmokingAnalyzer, SmokingOptions
from gateway import Box, Detection, SessionInfo
from tests.analyzers import tiny_models
from tests.analyzers.stage import frame_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

SIZE = (1000, 750)
STANDING = Box(0.4, 0.1, 0.6, 0.9)  # 200 x 600 px: a head of 80
OTHER = Box(0.7, 0.1, 0.9, 0.9)
MOUTH = Box(0.49, 0.17, 0.51, 0.19)
CIGARETTE = Detection("cigarette", 0.6, MOUTH)


def blank(width: int, height: int) -> np.ndarray[Any, Any]:
    return np.zeros((height, width, 3), np.uint8)


# --- the view --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "head"),
    [
        (STANDING, 80),
        (Box(0.3, 0.1, 0.6, 0.5), 100),  # sitting: 300 x 300 px
        (Box(0.2, 0.3, 0.6, 1.0), 200),  # cut off below, shoulders of 400 px
    ],
)
def test_a_heads_height_comes_from_what_is_seen_of_the_body(person: Box, head: float) -> None:
    assert head_height(person, *SIZE) == pytest.approx(head)


def test_a_view_brings_the_head_to_one_height() -> None:
    frame = frame_of(blank(*SIZE))
    for person, scale in ((STANDING, 1.25), (Box(0.2, 0.3, 0.6, 1.0), 0.5), (Box(0.5, 0.5, 0.54, 0.75), 2.0)):
        view = View.of(frame, person, 200)
        assert view is not None
        assert view.scale == pytest.approx(scale)
        assert max(view.picture(frame.to_bgr()).shape) == pytest.approx(200, abs=1)


def test_nobody_is_looked_at_whose_head_is_under_16_px() -> None:
    frame = frame_of(blank(*SIZE))
    assert View.of(frame, Box(0.5, 0.5, 0.53, 0.65), 200) is None  # 15 px
    assert View.of(frame, Box(0.5, 0.5, 0.53, 0.67), 200) is not None  # 17 px


def test_at_an_edge_a_view_shows_more_of_the_other_side() -> None:
    view = View.of(frame_of(blank(*SIZE)), Box(0.0, 0.0, 0.1, 0.8), 200)
    assert view is not None
    assert view.place == (0, 0, 160, 160)


def test_a_small_frame_is_seen_whole_and_not_enlarged_to_fill_the_view() -> None:
    frame = frame_of(blank(250, 250))
    view = View.of(frame, Box(0.0, 0.05, 1.0, 1.0), 352)
    assert view is not None
    assert view.place == (0, 0, 250, 250)
    assert view.picture(frame.to_bgr()).shape == (200, 200, 3)


def test_a_picture_shows_what_a_box_of_it_comes_back_to_mirrored_or_not() -> None:
    drawn = blank(*SIZE)
    drawn[150:170, 480:520] = 255
    frame = frame_of(drawn, quality=100)
    plain = View.of(frame, STANDING, 352)
    assert plain is not None
    for view in (plain, replace(plain, mirrored=True)):
        bright = view.picture(frame.to_bgr())[..., 0] > 127
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        height, width = bright.shape
        seen = Box(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
        assert list(view.in_frame(seen)) == pytest.approx([0.48, 0.2, 0.52, 0.2267], abs=0.004)


# --- the evidence ----------------------------------------------------------------------------------------------------


def around(*persons: Box, things: tuple[Detection, ...] = ()) -> Surroundings:
    return Surroundings.of(SIZE, persons, things)


@pytest.mark.parametrize(
    ("where", "whose"),
    [
        (MOUTH, [True, False]),
        (Box(0.36, 0.4, 0.38, 0.42), [True, False]),  # in the hand, beside the hip
        (Box(0.49, 0.7, 0.51, 0.72), [False, False]),  # on the ground before him
        (Box(0.49, 0.03, 0.51, 0.05), [False, False]),  # above his head
        (Box(0.79, 0.17, 0.81, 0.19), [False, True]),
        (Box(0.67, 0.3, 0.69, 0.32), [False, True]),  # within reach of both
        (Box(0.47, 0.17, 0.53, 0.19), [False, False]),  # 62 px long, 0.77 heads
        (Box(0.482, 0.165, 0.518, 0.195), [True, False]),  # 42 px from corner to corner, 0.53
        (Box(0.475, 0.16, 0.525, 0.2), [False, False]),  # 58 px from corner to corner, 0.73
    ],
)
def test_a_cigarette_is_short_and_at_mouth_or_hand_of_whom_it_is_nearest(where: Box, whose: list[bool]) -> None:
    found, both = replace(CIGARETTE, box=where), around(STANDING, OTHER)
    assert [both.belongs(found, person) for person in (STANDING, OTHER)] == whose


def test_in_a_close_up_nobody_knows_how_long_is_long() -> None:
    long = replace(CIGARETTE, box=Box(0.4, 0.3, 0.6, 0.4))
    for close_up in (Box(0.1, 0.0, 0.5, 1.0), Box(0.0, 0.1, 0.5, 1.0)):
        assert around(close_up).belongs(long, close_up)
    assert not around(STANDING).belongs(long, STANDING)


def test_a_larger_thing_that_is_surer_explains_it() -> None:
    phone = Detection("cell phone", 0.7, Box(0.48, 0.14, 0.52, 0.22))
    assert not around(STANDING, things=(phone,)).belongs(CIGARETTE, STANDING)
    others = [
        replace(phone, score=0.5),  # less sure than the cigarette's 0.6
        replace(phone, label="person"),
        replace(phone, box=Box(0.488, 0.168, 0.512, 0.192)),  # hardly larger
        replace(phone, box=Box(0.3, 0.14, 0.34, 0.22)),  # elsewhere
    ]
    assert [around(STANDING, things=(one,)).belongs(CIGARETTE, STANDING) for one in others] == [True] * 4


def test_a_class_of_somebody_smoking_is_as_large_as_he_is() -> None:
    act = Detection("person smoking", 0.6, Box(0.4, 0.1, 0.6, 0.5))
    assert [around(STANDING, OTHER).belongs(act, person) for person in (STANDING, OTHER)] == [True, False]


def test_two_looks_at_one_place_agree_on_the_mean() -> None:
    elsewhere = Detection("cigarette", 0.9, Box(0.2, 0.2, 0.22, 0.22))
    found = agreed([CIGARETTE, elsewhere], [replace(CIGARETTE, score=0.4)])
    assert [(round(one.score, 3), one.box) for one in found] == [(0.5, MOUTH), (0.5, MOUTH), (0.45, elsewhere.box)]


def test_looks_that_mean_different_things_do_not_agree() -> None:
    assert [one.score for one in agreed([CIGARETTE], [replace(CIGARETTE, label="vape")])] == [0.3, 0.3]


def test_an_open_vocabulary_export_is_a_detector_whose_classes_are_its_prompts(tmp_path: Path) -> None:
    """YOLOE's layout: prompts as names in the metadata, and 32 rows for masks behind the scores."""
    model = tiny_models.raw(
        tmp_path / "yoloe.onnx", names="{0: 'cigarette', 1: 'a person smoking', 2: 'phone'}", masks=32
    )
    detector = Detector(model, side=128)
    found = detector.detect_as_is([tiny_models.picture()], [Selection(0.5, classes=detector.classes(("cigarette",)))])
    assert [(one.label, tuple(one.box)) for one in found[0]] == [("cigarette", (0.5, 0.5, 0.75, 1.0))]
    smoking = SmokingAnalyzer(SmokingOptions(model=str(model), prompts=("cigarette", "a person smoking")))
    assert smoking.open(SessionInfo("s", options=smoking.options)).wanted.classes == (0, 1)


# --- the votes -------------------------------------------------------------------------------------------------------


def seen(at: float, score: float = 0.5, *, at_mouth: bool = True) -> Seen:
    return Seen(MOUTH, score, round(at * 10), at, at_mouth)


def test_what_never_comes_to_the_mouth_needs_more_votes() -> None:
    for once_there, carried in ((False, False), (True, True)):
        votes = Votes()
        for number in range(15):
            found = seen(number / 5, at_mouth=once_there and number == 7)
            votes.add(number / 5, found if number % 3 else None)  # two of three
        assert votes.carried is carried


def test_rare_looks_have_a_longer_memory() -> None:
    votes = Votes()
    for number in range(5):
        votes.add(number * 3.0, seen(number * 3.0))
    assert (len(votes.cast), votes.carried) == (5, True)
    votes.add(16.0, None)
    assert [at for at, _ in votes.cast] == [3.0, 6.0, 9.0, 12.0, 16.0]


def test_the_best_is_kept_until_there_is_nothing_any_more() -> None:
    votes = Votes(best=seen(0, 0.9), snapshot="x")
    votes.add(0, seen(0, 0.9))
    assert (votes.betters(seen(1, 0.8)), votes.betters(seen(1, 0.95))) == (False, True)
    for number in range(1, 30):
        votes.add(number / 5, None)
    assert (votes.best, votes.snapshot, votes.share) == (None, "", 0.0)
