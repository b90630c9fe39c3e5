"""Discovery: which plugins there are, in which order, and what is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engine.plugins import BUILT_IN, discover, load, optional_plugins


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    for name in ("queue.py", "ants.py", "_draft.py", ".hidden.py", "notes.txt", "motion.py"):
        (made / name).write_text("")
    (made / "package.py").mkdir()
    return made


def test_built_ins_come_first_then_named_files_then_the_folders_by_name(folder: Path, tmp_path: Path) -> None:
    named = str(tmp_path / "zebra.py")
    found = discover([named], folder=folder)
    strangers = [spec for spec in found if spec.distribution != BUILT_IN]
    assert [spec.distribution for spec in found[: -len(strangers)]] == [BUILT_IN] * (len(found) - len(strangers))
    files = [spec.path for spec in strangers if spec.path]
    assert files == [named, *(str(folder / name) for name in ("ants.py", "motion.py", "queue.py"))]


def test_an_optional_plugin_is_there_if_it_was_named_and_shares_with_nobody() -> None:
    optional = {spec.name for spec in optional_plugins() if spec.distribution == BUILT_IN}
    assert optional == {"caption", "scene"}
    assert optional & {spec.name for spec in discover()} == set()
    (found,) = (spec for spec in discover(on=["caption", "nobody"]) if spec.name in optional)
    assert (found.name, found.group, found.owner) == ("caption", "framegate:caption", "caption")
    assert [spec.name for spec in discover(off=["caption"], on=["caption"]) if spec.name in optional] == []


def test_a_file_of_the_folder_is_left_out_by_its_stem_and_a_named_one_is_not(folder: Path) -> None:
    off = ["queue", "ants"]
    files = [Path(spec.path).name for spec in discover([str(folder / "ants.py")], off, folder) if spec.path]
    assert files == ["ants.py", "motion.py"]


def test_a_file_that_was_named_and_lies_in_the_folder_is_one_plugin(folder: Path) -> None:
    found = [spec.path for spec in discover([str(folder / "queue.py")], folder=folder)]
    assert found.count(str(folder / "queue.py")) == 1


def test_no_two_plugins_have_one_name(folder: Path) -> None:
    (folder.parent / "queue.py").write_text("")
    found = discover([str(folder.parent / "queue.py")], folder=folder)
    names = {spec.path: spec.name for spec in found if spec.path}
    assert names == {
        str(folder.parent / "queue.py"): "queue",
        str(folder / "ants.py"): "ants",
        str(folder / "motion.py"): "motion.py",  # the built-in one has the shorter name
        str(folder / "queue.py"): "queue.py",
    }


@pytest.mark.parametrize("content", [b"import nothing_of_that_name", b"\x00\xff", b"def broken(", None])
def test_a_file_that_cannot_be_read_or_run_is_a_failed_plugin(folder: Path, content: bytes | None) -> None:
    bad = folder / "bad.py"
    bad.symlink_to(folder / "nowhere") if content is None else bad.write_bytes(content)
    loaded = load(discover(off=["motion", "objects", "smoking"], folder=folder))
    assert list(loaded.failed) == ["bad"]
    assert "Traceback" in loaded.failed["bad"]


def test_no_folder_is_no_plugins(tmp_path: Path) -> None:
    assert [spec for spec in discover(folder=tmp_path / "nowhere") if spec.path] == []
