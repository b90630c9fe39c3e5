"""Packets put together to encoded pictures: order, loss, repetition, wraps. Pure."""

from __future__ import annotations

import random

import pytest

from gateway.media.rtc_frames import MOST_BYTES, MOST_PARTS, Assembler, Packet, stands_alone
from gateway.media.rtc_time import NTP_EPOCH, SenderTime

KEY, DELTA = b"\x10\x02\x00\x9d\x01\x2a", b"\x11\x02\x00"  # how VP8 pictures begin


def fed(assembler: Assembler, packets: list[Packet]) -> list[bytes]:
    assembler.codec = assembler.codec or "VP8"
    return [encoded.data for packet in packets for encoded in assembler.add(packet)]


def picture(seq: int, stamp: int, head: bytes, *, parts: int = 3, came: float = 0.0) -> list[Packet]:
    """One picture in so many packets; only the last one has the marker bit."""
    stamp &= 0xFFFFFFFF
    return [
        Packet((seq + at) & 0xFFFF, stamp, at == parts - 1, head if at == 0 else b"part%d" % at, came)
        for at in range(parts)
    ]


def whole(head: bytes, parts: int = 3) -> bytes:
    return head + b"".join(b"part%d" % at for at in range(1, parts))


def test_a_picture_is_complete_with_its_last_packet_whatever_the_order() -> None:
    packets = picture(65534, 0, KEY) + picture(1, 3000, DELTA) + picture(4, 6000, DELTA)
    for seed in range(20):
        shuffled = packets[:1] + random.Random(seed).sample(packets[1:], len(packets) - 1)
        assert fed(Assembler(), shuffled) == [whole(KEY), whole(DELTA), whole(DELTA)]


def test_a_picture_without_marker_ends_where_the_next_one_begins() -> None:
    packets = [Packet(p.seq, p.stamp, False, p.data, 0.0) for p in picture(0, 0, KEY) + picture(3, 3000, DELTA)]
    assert fed(Assembler(), packets) == [whole(KEY)]


def test_packets_that_pad_and_second_copies_change_nothing() -> None:
    first, second = picture(0, 0, KEY), picture(5, 3000, DELTA)
    padding = [Packet(seq, 0, False, b"", 0.0) for seq in (3, 4)]
    assert fed(Assembler(), first + first + padding + second + second[:2]) == [whole(KEY), whole(DELTA)]


def test_after_a_gap_only_a_keyframe_goes_on_and_it_is_asked_for() -> None:
    assembler = Assembler()
    assert fed(assembler, picture(0, 0, KEY)) == [whole(KEY)]
    assert not assembler.ask(0.0)
    broken = picture(3, 3000, DELTA)[1:]
    assert fed(assembler, broken + picture(6, 6000, DELTA)) == []
    assert not assembler.ask(0.1)  # it may come yet
    assert fed(assembler, picture(9, 9000, DELTA, came=0.3)) == []
    assert assembler.ask(0.3)
    assert not assembler.ask(0.4)
    assert assembler.ask(1.4)  # the first request, or its keyframe, was lost
    assert fed(assembler, picture(12, 12000, KEY, came=1.5) + picture(15, 15000, DELTA)) == [whole(KEY), whole(DELTA)]
    assert not assembler.ask(9.0)
    assert assembler.lost == 1


def test_a_packet_that_comes_late_costs_nothing() -> None:
    first, second = picture(0, 0, KEY), picture(3, 3000, DELTA)
    late = second[1:] + picture(6, 6000, DELTA) + second[:1]
    assert fed(Assembler(), first + late) == [whole(KEY), whole(DELTA), whole(DELTA)]


def test_a_keyframe_right_behind_a_gap_is_taken_and_the_rest_of_one_is_not() -> None:
    for kept, expected in ((slice(0, 3), [whole(KEY)]), (slice(1, 3), [])):
        assembler = Assembler()
        fed(assembler, picture(0, 0, KEY))
        later = Packet(20, 9000, True, DELTA, 0.4)
        assert fed(assembler, [*picture(10, 6000, KEY)[kept], later])[:1] == expected


def test_who_comes_in_the_middle_of_a_picture_waits_for_the_next_keyframe() -> None:
    assembler = Assembler()
    assert fed(assembler, picture(0, 0, KEY)[1:] + picture(3, 3000, DELTA)) == []
    assert assembler.ask(0.0)
    assert fed(assembler, picture(6, 6000, KEY)) == [whole(KEY)]


def test_stamps_go_on_over_their_32_bits() -> None:
    assembler = Assembler()
    assembler.codec = "VP8"
    first = 2**32 - 3000
    found = [
        encoded.stamp - first
        for at in range(4)
        for packet in picture(at * 3, first + at * 3000, KEY)
        for encoded in assembler.add(packet)
    ]
    assert found == [0, 3000, 6000, 9000]


def test_a_sender_that_begins_anew_is_followed() -> None:
    assembler = Assembler()
    assert fed(assembler, picture(40_000, 0, KEY)) == [whole(KEY)]
    assert fed(assembler, picture(20_000, 90_000, KEY)) == [whole(KEY)]


def test_what_waits_is_bounded() -> None:
    assembler = Assembler()
    assembler.codec = "VP8"
    fed(assembler, picture(0, 0, KEY)[:1])
    for seq in range(2, 30_000):  # the second packet never comes, and time stands still
        assembler.add(Packet(seq, seq, True, DELTA, 0.0))
    assert len(assembler._waiting) <= 1024


@pytest.mark.parametrize(
    ("size", "parts"),
    [pytest.param(65_536, MOST_BYTES // 65_536, id="bytes"), pytest.param(1, MOST_PARTS, id="packets")],
)
def test_a_picture_without_an_end_is_dropped_and_a_keyframe_asked_for(size: int, parts: int) -> None:
    assembler = Assembler()
    assembler.codec = "VP8"
    most = 0
    for seq in range(3 * parts):  # of one picture, and none of them is the last
        data = KEY if seq == 0 else bytes(size)
        assert assembler.add(Packet(seq & 0xFFFF, 0, False, data, 0.0)) == []
        most = max(most, len(assembler._parts))
    assert parts - 1 <= most <= parts
    assert (assembler.lost, assembler._parts, assembler._size) == (1, [], 0)
    assert assembler.ask(0.0)
    assert fed(assembler, picture(3 * parts, 3000, DELTA) + picture(3 * parts + 3, 6000, KEY)) == [whole(KEY)]


def test_a_picture_that_is_parameters_only_is_no_keyframe_however_many_they_are() -> None:
    units = b"\0\0\1\x67x" * 2000
    assert [stands_alone("H264", units[:count] + b"\0\0\1\x65slice") for count in (0, 5000, 10_000)] == [
        True,
        True,
        False,
    ]


def test_keyframes_of_h264_are_known_by_their_slices() -> None:
    idr = b"\0\0\0\1\x67sps\0\0\0\1\x68pps\0\0\0\1\x65slice"
    for data, is_one in ((idr, True), (b"\0\0\0\1\x41slice", False), (b"\0\0\0\1\x06sei\0\0\0\1\x41slice", False)):
        assembler = Assembler()
        assembler.codec = "H264"
        found = assembler.add(Packet(0, 0, True, idr, 0.0)) + assembler.add(Packet(1, 1, True, data, 0.0))
        assert [encoded.keyframe for encoded in found] == [True, is_one]


def test_the_time_of_a_picture_is_the_senders_if_its_clock_is_ours() -> None:
    time = SenderTime()
    assert time.at(0, 1000.0) == 1000.0
    time.note(2**32 - 90_000, round((1000.0 + NTP_EPOCH) * 2**32))
    assert time.at(2**32 - 90_000 + 45_000, 1000.7) == 1000.5
    assert time.at(2**32 + 90_000, 1002.2) == 1002.0  # over the wrap
    assert time.at(2**32 - 90_000, 1000.0 - 0.3) == 999.7  # it cannot come before it was taken
    assert time.at(2**32 - 90_000, 1060.0) == 1060.0  # no picture is a minute on its way
    time.note(5, 0)  # no clock at all
    assert time.at(5, 7.0) == 7.0
