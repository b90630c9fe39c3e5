"""The ring: what is kept of a stream for clips, in whole groups, within a time and a number of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.ring import Piece, Ring, Stamp


def jpegs(*times: float, size: int = 10) -> list[Piece]:
    return [Piece(at, bytes(size)) for at in times]


def packets(at: float, *, key: bool, size: int = 10) -> Piece:
    return Piece(at, bytes(size), key, (Stamp(size, at, 0.0, key),))


def filled(pieces: list[Piece], most: int = 10**6) -> Ring:
    ring = Ring()
    for piece in pieces:
        ring.add(piece, most=most)
    return ring


def test_what_shows_a_moment_begins_with_the_last_picture_before_it() -> None:
    ring = filled(jpegs(1, 2, 3, 4))
    assert [piece.at for piece in ring.since(2.5)] == [2, 3, 4]
    assert [piece.at for piece in ring.since(2)] == [2, 3, 4]
    assert [piece.at for piece in ring.since(0)] == [1, 2, 3, 4]


def test_what_shows_a_moment_of_packets_begins_with_a_keyframe() -> None:
    ring = filled([packets(at, key=at % 2 == 0) for at in range(6)])
    assert [piece.at for piece in ring.since(3.5)] == [2, 3, 4, 5]


def test_packets_before_the_first_keyframe_are_of_no_use() -> None:
    ring = filled([packets(0, key=False), packets(1, key=True), packets(2, key=False)])
    assert [piece.at for piece in ring.since(0)] == [1, 2]


def test_what_is_too_long_ago_is_forgotten_in_whole_groups() -> None:
    ring = filled([packets(at, key=at % 3 == 0) for at in range(9)])
    ring.forget(4)
    assert [piece.at for piece in ring.since(0)] == [3, 4, 5, 6, 7, 8]
    ring.forget(6)
    assert [piece.at for piece in ring.since(0)] == [6, 7, 8]
    ring.forget(9)
    assert (len(ring), ring.bytes) == (0, 0)


def test_beyond_its_bytes_the_oldest_group_goes() -> None:
    ring = filled(jpegs(1, 2, 3), most=20)
    assert ([piece.at for piece in ring.since(0)], ring.bytes) == ([2, 3], 20)
    ring = filled([packets(at, key=at in (0, 3)) for at in range(5)], most=40)
    assert [piece.at for piece in ring.since(0)] == [3, 4]


def test_a_group_larger_than_all_goes_and_the_next_keyframe_begins_anew() -> None:
    ring = filled([packets(at, key=at in (0, 5)) for at in range(7)], most=40)
    assert [piece.at for piece in ring.since(0)] == [5, 6]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=60),
    st.integers(1, 200),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_it_never_holds_more_than_it_may_and_always_begins_with_a_key(
    items: list[tuple[bool, int]], most: int, forgotten: list[int]
) -> None:
    ring = Ring()
    for at, (key, size) in enumerate(items):
        ring.add(packets(at, key=key, size=size), most=most)
        if at in forgotten:
            ring.forget(at - 5)
        kept = ring.since(0)
        assert ring.bytes == sum(len(piece.data) for piece in kept) <= most
        assert not kept or kept[0].key
        assert [piece.at for piece in kept] == list(range(at + 1 - len(kept), at + 1))
