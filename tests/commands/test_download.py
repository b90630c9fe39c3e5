"""Fetching over a real HTTP server: resumed, checked, and never half a file in place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateway.download import ATTEMPTS, DownloadFailed, fetch
from tests.commands.file_server import Served, serving

BODY = os.urandom(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()


def take(served: Served, target: Path, digest: str = DIGEST, size: int = len(BODY)) -> list[int]:
    """Fetch, and what progress was told."""
    told: list[int] = []
    fetch(served.url, target, size=size, sha256=digest, progress=told.append)
    return told


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.onnx"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def test_a_file_arrives_whole_and_leaves_no_part(target: Path) -> None:
    with serving(Served(BODY)) as served:
        told = take(served, target)
    assert target.read_bytes() == BODY
    assert not part_of(target).exists()
    assert told[0] == 0
    assert told[-1] == len(BODY)


def test_a_cut_connection_is_taken_up_where_it_broke(target: Path) -> None:
    with serving(Served(BODY, cuts=[100_000, 50_000])) as served:
        take(served, target)
    assert target.read_bytes() == BODY
    assert served.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on_with_what_is_there(target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(BODY[:200_000])
    with serving(Served(BODY)) as served:
        told = take(served, target)
    assert target.read_bytes() == BODY
    assert served.asked == ["bytes=200000-"]
    assert told[0] == 200_000


def test_a_server_without_ranges_is_read_from_the_beginning(target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(b"x" * 200_000)
    with serving(Served(BODY, ranges=False)) as served:
        take(served, target)
    assert target.read_bytes() == BODY


def test_a_whole_part_is_not_asked_for_again(target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(BODY)
    with serving(Served(BODY)) as served:
        take(served, target)
    assert target.read_bytes() == BODY
    assert served.asked == []


def test_cut_again_and_again_keeps_the_part_and_says_how_to_go_on(target: Path) -> None:
    with serving(Served(BODY, cuts=[1000] * ATTEMPTS)) as served, pytest.raises(DownloadFailed) as failed:
        take(served, target)
    assert "after 4000 of 300000 bytes; run the same command again" in str(failed.value)
    assert part_of(target).read_bytes() == BODY[:4000]
    assert not target.exists()


def test_a_wrong_hash_is_thrown_away(target: Path) -> None:
    with serving(Served(BODY)) as served, pytest.raises(DownloadFailed, match=r"SHA-256 is .* expected 000"):
        take(served, target, digest="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_a_file_larger_than_it_should_be_is_refused_at_once(target: Path) -> None:
    with serving(Served(BODY)) as served, pytest.raises(DownloadFailed, match="larger than the 1000 bytes"):
        take(served, target, size=1000)
    assert not target.exists()


def test_a_wrong_hash_does_not_touch_the_file_that_is_there(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    with serving(Served(BODY)) as served, pytest.raises(DownloadFailed):
        take(served, target, digest="0" * 64)
    assert target.read_bytes() == b"old"


def test_404_is_said_with_the_address(target: Path) -> None:
    with serving(Served(BODY, status=404)) as served, pytest.raises(DownloadFailed, match="answered 404; --url"):
        take(served, target)
    assert len(served.asked) == 1


def test_nobody_there_is_a_line_not_a_traceback(target: Path) -> None:
    nobody = Served(BODY, url="http://127.0.0.1:9/weights.onnx")
    with pytest.raises(DownloadFailed, match="the connection failed"):
        take(nobody, target)


@pytest.mark.parametrize("url", ["ftp://host/file", "no address", "http://"])
def test_no_address_is_a_line_not_a_traceback(url: str, target: Path) -> None:
    with pytest.raises(DownloadFailed):
        take(Served(BODY, url=url), target)
