"""Labelled material: folders of the documented shape with whatever names, and suite files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.evaluation.material import BadMaterial, read, spans

CLIP = {"kind": "abandoned bag", "owner_starts_leaving": 2.0}


def folder(place: Path) -> Path:
    """A folder of the four kinds of material, with names of its own."""
    for name in ("clips", "faces/ann", "faces/groups", "smoking", "pictures"):
        (place / name).mkdir(parents=True)
    for file in ("clips/hall.mp4", "clips/stray.mp4", "faces/ann/1.jpg", "pictures/p.jpg"):
        (place / file).write_bytes(b"")
    for file in ("smoking/smoking_7.jpg", "smoking/notsmoking_8.png", "smoking/readme.txt"):
        (place / file).write_bytes(b"")
    (place / "clips" / "truth.json").write_text(json.dumps({"hall.mp4": CLIP, "gone.mp4": CLIP}))
    (place / "faces" / "truth.json").write_text(json.dumps({"persons": {"ann": 1}, "groups": {}}))
    (place / "pictures" / "objects.json").write_text(json.dumps([{"file": "p.jpg", "objects": []}]))
    return place


def test_a_folder_of_that_shape_is_read_whatever_its_files_are_called(tmp_path: Path) -> None:
    found = read(folder(tmp_path))
    assert [(clip.name, clip.kind, clip.truth["owner_starts_leaving"]) for clip in found.clips] == [
        ("hall", "abandoned bag", 2.0)
    ]
    assert {still.path.name: still.truth["smoking"] for still in found.smoking} == {
        "smoking_7.jpg": True,
        "notsmoking_8.png": False,
    }
    assert [still.path.name for still in found.objects] == ["p.jpg"]
    assert (found.faces, found.faces_truth["persons"]) == (tmp_path / "faces", {"ann": 1})


def test_clips_that_nobody_knows_are_named_and_left_out(tmp_path: Path) -> None:
    assert read(folder(tmp_path)).notes == (
        "stray.mp4: not in truth.json, skipped",
        "gone.mp4: in truth.json, but there is no such file, skipped",
    )


@pytest.mark.parametrize(("part", "kinds"), [("clips", (1, 0, 0, False)), ("faces", (0, 0, 0, True))])
def test_one_kind_of_material_may_stand_alone(tmp_path: Path, part: str, kinds: tuple[int, int, int, bool]) -> None:
    found = read(folder(tmp_path) / part)
    assert (len(found.clips), len(found.smoking), len(found.objects), found.faces is not None) == kinds


def test_a_suite_file_names_clips_and_their_truth(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    file = tmp_path / "own.toml"
    file.write_text(
        '[[clip]]\nfile = "a.mp4"\nkind = "smoking"\nsmoking = [1.0, 2.0]\noptions.smoking.sensitivity = 0.7'
    )
    (clip,) = read(file).clips
    assert (clip.path, dict(clip.truth)) == (
        tmp_path / "a.mp4",
        {"kind": "smoking", "smoking": [1.0, 2.0], "options": {"smoking": {"sensitivity": 0.7}}},
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("own.toml", "x = [", "own.toml: "),
        ("own.toml", "x = 1", "no [[clip]] in it"),
        ("own.toml", '[[clip]]\nfile = "gone.mp4"', "clip 1: no file 'gone.mp4'"),
        ("truth.json", "[1]", "expected an object with one object a clip"),
        ("truth.json", "{", "truth.json: "),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadMaterial) as refused:
        read(tmp_path / name if name.endswith(".toml") else tmp_path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_anything_labelled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadMaterial, match="nothing labelled"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ([1, 2], [(1.0, 2.0)]),
        ([[1, 2], [3, 4]], [(1.0, 2.0), (3.0, 4.0)]),
        (None, []),
        ([], []),
        ("never", []),
        (5, []),
    ],
)
def test_intervals_are_a_pair_or_a_list_of_pairs(value: object, pairs: list[tuple[float, float]]) -> None:
    assert spans(value) == pairs
