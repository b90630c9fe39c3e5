"""A data set is refused for a reason with a place, before anything is trained on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from gateway.commands.models_dataset import BadDataset, labels_of, read_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = "train: train/images\nval: val/images\nnames: [cigarette, vape]\n"


def draw(file: Path, colour: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.full((32, 48, 3), colour, np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training pictures, one without boxes, and one to validate with."""
    root = tmp_path / "smoke"
    for number, (part, name) in enumerate([("train", "a"), ("train", "b"), ("train", "none"), ("val", "c")]):
        draw(root / part / "images" / f"{name}.jpg", 40 * number)
        (root / part / "labels").mkdir(exist_ok=True)
    (root / "train/labels/a.txt").write_text("0 0.5 0.5 0.2 0.1\n1 0.1 0.1 0.1 0.1\n")
    (root / "train/labels/b.txt").write_text("0 0.2 0.2 0.4 0.2 0.3 0.4\n\n")  # a polygon
    (root / "val/labels/c.txt").write_text("0 0.5 0.5 1 1\n1 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text(DATA)
    return root


def refused(place: Path) -> str:
    with pytest.raises(BadDataset) as caught:
        read_dataset(place)
    return str(caught.value)


@pytest.mark.parametrize("place", ["", "data.yaml"])
def test_a_right_one_is_counted(root: Path, place: str) -> None:
    found = read_dataset(root / place)
    assert found.summary() == {
        "name": "smoke",
        "classes": ["cigarette", "vape"],
        "train": {"images": 3, "without_boxes": 1, "boxes": {"cigarette": 2, "vape": 1}},
        "val": {"images": 1, "without_boxes": 0, "boxes": {"cigarette": 1, "vape": 1}},
    }
    assert found.warnings == ("3 training pictures are few; some hundreds are the least for a usable detector",)


def test_it_is_handed_on_with_whole_paths(root: Path) -> None:
    assert json.loads(read_dataset(root).to_yaml()) == {
        "train": [str(root / "train" / "images")],
        "val": [str(root / "val" / "images")],
        "names": {"0": "cigarette", "1": "vape"},
    }


def test_paths_are_relative_to_path_and_exports_that_lead_out_are_understood(root: Path) -> None:
    (root / "data.yaml").write_text("path: train\ntrain: images\nval: ../val/images\nnames: {0: cigarette, 1: vape}\n")
    assert read_dataset(root).parts["train"].images == 3
    (root / "data.yaml").write_text("train: ../train/images\nval: ../val/images\nnames: [cigarette, vape]\n")
    assert read_dataset(root).parts["val"].images == 1


def test_labels_lie_in_labels_instead_of_the_last_images(root: Path) -> None:
    assert labels_of(root / "images" / "train" / "images" / "x.jpg") == root / "images/train/labels/x.txt"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("train: train/images\nval: val/images\n", "names must list the classes, such as names: [cigarette], got None"),
        ("names: [a]\ntrain: train/images\n", "val must name a folder of pictures; both train and val are needed"),
        ("names: [a]\ntrain: nowhere\nval: val/images\n", "train: there is no folder {root}/nowhere"),
        ("names: [a]\ntrain: empty\nval: val/images\n", "train: there is no picture in {root}/empty"),
        ("names: {1: a, 2: b}\ntrain: train/images\nval: val/images\n", "names must be numbered 0, 1, 2 and so on"),
        ("names: [a, a]\ntrain: train/images\nval: val/images\n", "every class needs a name of its own"),
        ("names: [a]\nnc: 2\ntrain: train/images\nval: val/images\n", "nc is 2, but names has 1 classes"),
        ("just words", "expected keys train, val and names, got str"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_a_wrong_data_yaml_is_refused(root: Path, data: str, said: str) -> None:
    (root / "empty").mkdir()
    (root / "data.yaml").write_text(data)
    assert said.format(root=root) in refused(root)


def test_without_data_yaml_it_says_what_one_is(tmp_path: Path) -> None:
    assert (
        refused(tmp_path)
        == f"there is no {tmp_path}/data.yaml; a data set in the YOLO layout is a folder with a data.yaml"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.2", "expected a class and 4 numbers, or a polygon of 3 or more points, got 4 numbers"),
        ("0 0.5 0.5 0.2 0.1 0.3", "expected a class and 4 numbers, or a polygon of 3 or more points, got 6 numbers"),
        ("cigarette 0.5 0.5 0.2 0.1", "expected numbers, got 'cigarette 0.5 0.5 0.2 0.1'"),
        ("2 0.5 0.5 0.2 0.1", "there is no class 2; names has 0 to 1"),
        ("0.5 0.5 0.5 0.2 0.1", "there is no class 0.5; names has 0 to 1"),
        ("0 120 80 40 20", "a box is 0-1 of the picture, not px, got 120 80 40 20"),
        ("0 0.5 0.5 0 0.1", "a box needs a width and a height above 0, got 0 and 0.1"),
        ("0 nan 0.5 0.2 0.1", "expected finite numbers, got 0 nan 0.5 0.2 0.1"),
    ],
)
def test_a_wrong_box_is_named_by_file_and_line(root: Path, line: str, said: str) -> None:
    labels = root / "train/labels/a.txt"
    labels.write_text(f"0 0.5 0.5 0.2 0.1\n{line}\n")
    assert refused(root) == f"{labels}:2: {said}"


def test_many_faults_are_told_in_part_and_counted(root: Path) -> None:
    (root / "train/labels/a.txt").write_text("9 0.5 0.5 0.2 0.1\n" * 30)
    lines = refused(root).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 10 more")


def test_a_picture_that_does_not_decode_is_named(root: Path) -> None:
    (root / "val/images/c.jpg").write_bytes(b"no picture")
    assert refused(root) == f"{root}/val/images/c.jpg: is no picture that decodes"


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_part_without_any_label_is_refused(root: Path, part: str) -> None:
    for labels in (root / part / "labels").iterdir():
        labels.unlink()
    count = {"train": 3, "val": 1}[part]
    assert refused(root) == f"{root}/data.yaml: none of the {count} pictures of {part} has a box in its labels"


def _same_picture(root: Path) -> None:
    (root / "val/images/c.jpg").write_bytes((root / "train/images/a.jpg").read_bytes())


def _no_vape(root: Path) -> None:
    (root / "val/labels/c.txt").write_text("0 0.5 0.5 1 1\n")


def _no_negatives(root: Path) -> None:
    (root / "train/images/none.jpg").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_same_picture, "1 pictures are in train and in val: figures will look better than they are"),
        (_no_vape, "no box of class vape in val"),
        (
            _no_negatives,
            "every training picture has a box: without pictures of other things it will see this one everywhere",
        ),
    ],
)
def test_what_makes_worse_weights_is_a_warning(root: Path, change: Callable[[Path], None], said: str) -> None:
    change(root)
    assert said in read_dataset(root).warnings
