from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.weights import Weights, find, folders, read_manifest, sha256_of


@pytest.mark.parametrize("weights", read_manifest().values(), ids=lambda weights: weights.name)
def test_a_manifest_entry_is_fetched_and_checked_or_says_how_to_come_by_it(weights: Weights) -> None:
    assert Path(weights.file).name == weights.file
    assert weights.licence
    if weights.url is None:
        assert weights.how
        assert weights.sha256 is None
    else:
        assert weights.url.startswith("https://")
        assert weights.url.endswith("/" + weights.file)
        assert re.fullmatch(r"[0-9a-f]{64}", weights.sha256 or "")
        assert (weights.bytes or 0) > 0
        assert weights.checked


def test_no_two_entries_share_a_file() -> None:
    files = [weights.file for weights in read_manifest().values()]
    assert len(files) == len(set(files))


def test_the_named_folders_come_before_the_data_folder() -> None:
    setting = os.pathsep.join(["/a", "", "/b"])
    assert folders(Path("/home/x"), setting) == [Path("/a"), Path("/b"), Path("/home/x/models")]


def test_files_are_found_by_name_anywhere_below_the_folders(tmp_path: Path) -> None:
    deep = tmp_path / "one" / "deep"
    deep.mkdir(parents=True)
    (deep / "x.onnx").write_bytes(b"1")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "x.onnx").write_bytes(b"2")
    assert find("x.onnx", [tmp_path / "two", tmp_path / "one", tmp_path / "gone"]) == [
        tmp_path / "two" / "x.onnx",
        deep / "x.onnx",
    ]


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
