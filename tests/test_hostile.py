"""Hostile peers and what judges them: corpus, outcomes, what is documented, slopes, and what benches call broken."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random

import pytest

from bench import amplification, corpus, drains, malformed, sessions, stalled
from bench.attackers import Tally, complaints
from bench.attacks import ATTACKS, MIB, resized
from bench.corpus import FAMILIES, Message, documents, frames, pictures, requests
from bench.corpus.message import Kind, cut, flipped, frame, request
from bench.documented import SUCCESS, Documented, documented
from bench.healthy import Phase
from bench.hostile import EOF, OPEN, RESET, SILENT, Outcome, Peer, answers
from bench.lines import READER, opened
from bench.memory import queued
from bench.slope import Slope, settled_slope, slope
from gateway.errors import GatewayError
from gateway.jpeg import read_header
from tests.benches import ROOT, run

# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.slow
def test_malformed_messages_break_no_promise() -> None:
    code, line = run("malformed", "--count", "1000", "--rounds", "2", "--quiet", "2")
    assert (line["broken"], line["messages"]) == ([], 1000)
    assert code == (3 if line["void"] else 0)


@pytest.mark.e2e
@pytest.mark.slow
def test_no_attack_takes_more_memory_than_four_bytes_for_one() -> None:
    code, line = run("amplification", "--seconds", "0.5", "--attacks", "deflate_bomb", "picture_bomb", "deep_json")
    assert (code, line["broken"]) == (0, [])
    assert line["worst_bytes_per_byte"]["stock"] > 100


@pytest.mark.e2e
@pytest.mark.slow
def test_sessions_that_are_left_leave_nothing() -> None:
    code, line = run("sessions", "--count", "100", "--idle", "100")
    assert (code, line["broken"], line["left"], line["tasks"][0] > 0) == (0, [], {}, True)


@pytest.mark.e2e
@pytest.mark.slow
def test_stalled_viewers_are_gone_in_time() -> None:
    code, line = run("stalled", "--rounds", "1", "--seconds", "6", "--stalled", "20", "--live", "4")
    assert (line["broken"], line["never_reset"], line["seen"]) == ([], 0, 20)
    assert code == (3 if line["void"] else 0)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_gateway_leaves_in_time_with_a_stopped_client() -> None:
    code, line = run("drains", "--drains", "2")
    assert (code, line["exit_0"], line["broken"]) == (0, 2, {})


# --- the corpus ------------------------------------------------------------------------------------------------------


def test_a_message_depends_on_the_seed_and_its_number_alone() -> None:
    forth = [corpus.message(7, index) for index in range(200)]
    back = [corpus.message(7, index) for index in reversed(range(200))]
    assert forth == back[::-1]
    assert forth[0] != corpus.message(8, 0)


def test_families_take_turns() -> None:
    assert [corpus.message(1, index).family for index in range(10)] == [*FAMILIES] * 2


@pytest.mark.parametrize(
    ("family", "kinds"),
    [
        ("websocket", frames.WHOLE + frames.OPEN_ENDED),
        ("json", documents.KINDS),
        ("jpeg", pictures.KINDS),
        ("http", requests.WHOLE + requests.OPEN_ENDED),
    ],
)
def test_every_kind_can_be_made(family: str, kinds: Sequence[Kind]) -> None:
    made = {FAMILIES[family](Random(number)).kind.removesuffix(", cut") for number in range(400)}
    assert made == {kind.__name__.strip("_") for kind in kinds}


def test_digests_can_be_joined_in_any_order() -> None:
    parts = [corpus.digest(index, b"x%d" % index) for index in range(3)]
    assert parts[0] ^ parts[1] ^ parts[2] == parts[2] ^ parts[0] ^ parts[1]
    assert corpus.digest(1, b"x") != corpus.digest(2, b"x")


def test_frames_are_those_of_rfc_6455() -> None:
    """Section 5.2: FIN and RSV, opcode, mask and length in its three forms; and lies about each."""
    assert frame(b"hi") == b"\x81\x82\0\0\0\0hi"
    assert frame(bytes(200), 2)[:4] == b"\x82\xfe\x00\xc8"
    assert frame(b"hi", 2, first=0x40, masked=False) == b"\x42\x02hi"
    assert frame(b"", form=8, length=2**63) == b"\x81\xff\x80" + bytes(7) + bytes(4)


def test_a_request_says_how_long_its_body_is() -> None:
    assert request(b"POST", b"/x", b"abc").endswith(b"Connection: close\r\nContent-Length: 3\r\n\r\nabc")


def test_what_is_cut_is_shorter_and_what_is_flipped_as_long() -> None:
    data = bytes(range(50))
    assert all(data.startswith(piece) and len(piece) < 50 for piece in (cut(Random(n), data) for n in range(50)))
    assert len(flipped(Random(1), data)) == 50


@pytest.mark.parametrize("side", [64, 12_000])
def test_a_picture_says_the_size_it_is_told_to(side: int) -> None:
    header = read_header(resized(side, side), max_pixels=side * side)
    assert (header.width, header.height) == (side, side)


# --- hostile peers ---------------------------------------------------------------------------------------------------

PROBLEM = b'{"type":"about:blank","title":"x","status":400,"detail":"d","code":"bad_json","request_id":"1"}'


def test_answers_are_read_one_after_the_other() -> None:
    first = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(PROBLEM), PROBLEM)
    second = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert answers(first + second) == ([(400, "bad_json"), (200, "")], True)
    assert answers(first + second[:-1]) == ([(400, "bad_json"), (200, "")], False)


def test_an_endless_answer_needs_no_end() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=f\r\n\r\n--f"
    assert answers(head) == ([(200, "")], True)


def test_chunks_end_with_the_last() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    assert [answers(head)[1], answers(head + b"0\r\n\r\n")[1]] == [False, True]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _outcome(handler: Handler, message: Message) -> Outcome:
    """What a peer says of a server that does this."""
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        peer = Peer(server.sockets[0].getsockname(), "/ws/stream/x")
        outcome = await peer.send(message)
        await peer.close()
        await done.wait()
        return outcome


def _server(answer: bytes) -> Handler:
    """Takes the handshake and one read more, answers and ends."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.read(1)
        writer.write(answer)
        await writer.drain()

    return handle


ON_SOCKET = Message("json", "x", frame(b"x"), on_socket=True)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"\x88\x02\x03\xea", Outcome((), 1002)),
        (b"\x88\x00", Outcome((), 1005)),
        (b"", Outcome((), EOF)),
        (b"\x8a\x011", Outcome((), OPEN)),
        (b'\x81\x20{"type":"error","code":"bad_x"} \x8a\x011', Outcome(((0, "bad_x"),), OPEN)),
    ],
)
async def test_a_peer_says_how_its_message_ended(answer: bytes, outcome: Outcome) -> None:
    assert await _outcome(_server(answer), ON_SOCKET) == outcome


async def test_a_peer_that_hears_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass

    monkeypatch.setattr("bench.hostile.PATIENCE_S", 0.2)
    message = Message("http", "x", b"GET / HTTP/1.1\r\n\r\n", on_socket=False)
    assert await _outcome(handle, message) == Outcome((), SILENT)


# --- what is documented ----------------------------------------------------------------------------------------------


def test_what_the_docs_name_is_read_from_them() -> None:
    rules = documented()
    assert rules.statuses[413] >= {"body_too_large", "image_too_large"}
    assert {1000, 1002, 1003, 1007, 1009, 1011, 1012, 1013, 4400, 4413, 4422} <= rules.closes
    assert 1006 not in rules.closes, "nobody sends it"
    assert {"bad_json", "bad_base64", "undecodable"} <= rules.errors


def test_every_close_code_of_the_errors_is_documented() -> None:
    assert {error.close_code for error in _tree(GatewayError)} <= documented().closes


def _tree(error: type[GatewayError]) -> list[type[GatewayError]]:
    return [error, *(one for below in error.__subclasses__() for one in _tree(below))]


def test_close_codes_of_the_vectors_are_documented() -> None:
    vectors = json.loads((ROOT / "tests/vectors/refusals.json").read_text())["vectors"]
    rules = documented()
    assert {vector["close_code"] for vector in vectors} <= rules.closes


RULES = Documented(
    {400: frozenset({"bad_json"}), 500: frozenset({"internal"})}, frozenset({1002}), frozenset({"bad_json"})
)


@pytest.mark.parametrize(
    ("status", "code", "allowed"),
    [
        (400, "bad_json", True),
        (400, "", True),
        (400, "other", False),
        (418, "", False),
        (500, "internal", False),
        (502, "", False),
        *((status, "", True) for status in sorted(SUCCESS)),
    ],
)
def test_only_documented_statuses_are_allowed_and_never_our_own_defect(status: int, code: str, allowed: bool) -> None:
    assert RULES.allows(status, code) is allowed


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(((0, "bad_json"),), 1002), []),
        (Outcome((), OPEN), []),
        (Outcome((), RESET), []),
        (Outcome(((0, "odd"),), OPEN), ["error `odd` is not documented"]),
        (Outcome(((404, "not_found"),), EOF), ["404 `not_found` is not documented"]),
        (Outcome(((0, "bad_json"),), EOF), ["json, x: closed without a word"]),
        (Outcome(((500, "internal"),), EOF), ["500 `internal` is not documented"]),
        (Outcome((), 4999), ["close code 4999 is not documented"]),
        (Outcome((), SILENT), ["json, x: neither answered nor closed"]),
        (Outcome((), EOF), ["json, x: closed without a word"]),
    ],
)
def test_what_is_not_as_documented_is_said(outcome: Outcome, said: list[str]) -> None:
    assert list(complaints(ON_SOCKET, outcome, RULES)) == said


def test_a_message_that_was_cut_may_end_without_a_word() -> None:
    half = Message("http", "x, cut", b"GET", on_socket=False, whole=False)
    assert list(complaints(half, Outcome((), EOF), RULES)) == []


def test_tallies_of_stretches_add_up() -> None:
    one, other = Tally(), Tally()
    one.take(0, ON_SOCKET, Outcome((), 4999), RULES)
    other.take(1, ON_SOCKET, Outcome((), 4999), RULES)
    one.add(other)
    assert (one.sent, one.ends, one.wrong["close code 4999 is not documented"][:2]) == (
        2,
        {("json", "4999"): 2},
        (2, 0),
    )
    assert one.digest == corpus.digest(0, ON_SOCKET.data) ^ corpus.digest(1, ON_SOCKET.data)


# --- slopes ----------------------------------------------------------------------------------------------------------


def test_a_line_has_its_slope_and_no_doubt() -> None:
    assert slope(range(20), [3 * x + 5 for x in range(20)]) == Slope(3.0, 3.0, 3.0)


def test_spikes_do_not_move_a_slope() -> None:
    spikes = [x + (1_000_000 if x % 10 == 9 else 0) for x in range(50)]
    assert slope(range(50), spikes).slope == pytest.approx(1.0)


def test_noise_around_nothing_may_be_nothing() -> None:
    chance = Random(5)
    found = slope(range(80), [chance.gauss(0, 1) for _ in range(80)])
    assert found.may_be_nothing
    assert found.low < found.slope < found.high


def test_a_leak_under_noise_is_surely_one() -> None:
    chance = Random(5)
    found = slope(range(80), [0.1 * x + chance.gauss(0, 1) for x in range(80)])
    assert (found.may_be_nothing, 0.05 < found.low < 0.1 < found.high < 0.15) == (False, True)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance, held = Random(11), 0
    for _ in range(200):
        found = slope(range(30), [2 * x + chance.gauss(0, 20) for x in range(30)])
        held += found.low <= 2 <= found.high
    assert 182 <= held <= 198


def test_a_process_that_does_not_grow_has_no_slope() -> None:
    assert slope(range(30), [7] * 30) == Slope(0.0, 0.0, 0.0)


def test_the_first_fifth_is_left_out() -> None:
    chance = Random(2)
    memory = [chance.gauss(0, 1) for _ in range(100)]
    assert settled_slope(range(100), memory) == slope(range(20, 100), memory[20:]) != slope(range(100), memory)


def test_two_samples_give_no_slope() -> None:
    with pytest.raises(ValueError, match="2 and 2 samples"):
        slope([1, 2], [1, 2])


# --- what the benches call broken ------------------------------------------------------------------------------------


def test_a_lost_picture_took_for_ever() -> None:
    phase = Phase([0.001] * 98, late=0, lost=2)
    assert (phase.quantile(0.5), phase.quantile(0.99)) == (0.001, float("inf"))


def test_a_session_whose_own_clients_were_late_says_nothing() -> None:
    assert [Phase([0.001] * 100, late=late).void for late in (5, 6)] == [False, True]


def test_every_attack_says_what_it_does() -> None:
    assert [name for name, attack in ATTACKS.items() if not attack.__doc__] == []


@pytest.mark.parametrize(
    ("attack", "grown", "connections", "answering", "kept"),
    [
        ("deep_json", 6 * MIB, 1, True, True),
        ("deep_json", 7 * MIB, 1, True, False),
        ("deep_json", 0, 1, False, False),
        ("slow_headers", 12 * MIB, 400, True, True),
        ("slow_headers", 13 * MIB, 400, True, False),
        ("picture_at_the_limit", 99 * MIB, 1, True, True),
        ("picture_bomb", 99 * MIB, 1, True, False),
    ],
)
def test_amplification_is_memory_for_a_byte_sent(
    attack: str, grown: int, connections: int, answering: bool, kept: bool
) -> None:
    cost = amplification.Cost(MIB, grown, 0, connections, 0.1, answering)
    assert cost.kept(attack) is kept


@pytest.mark.parametrize(
    ("low", "left", "tasks", "idle", "said"),
    [
        (512.0, {}, (5, 5), 100.0, 0),
        (513.0, {}, (5, 5), 100.0, 1),
        (-5.0, {"threads": 1}, (5, 4), 100.0, 1),
        (-5.0, {}, (5, 6), 100.0, 1),
        (-5.0, {}, (5, 5), 101.0, 1),
    ],
)
def test_sessions_break_their_promises_one_by_one(
    low: float, left: dict[str, int], tasks: tuple[int, int], idle: float, said: int
) -> None:
    found = sessions.Found(sessions=[10_000], left=left, tasks=tasks, idle={"gateway": idle, "stock": 100.0})
    assert len(sessions._broken(found, Slope(600.0, low, 700.0))) == said


def test_a_slope_over_few_sessions_is_not_judged() -> None:
    found = sessions.Found(sessions=[1_000], idle={"gateway": 1.0, "stock": 1.0})
    assert sessions._broken(found, Slope(4_000.0, 3_900.0, 4_100.0)) == []


def sound_round() -> stalled.Found:
    return stalled.Found([[10.0, 10.0]], [[10.0, 9.0]], [0], [0], [11.0], [2], memory=[0, 9 * 2**20, 9 * 2**20])


def test_live_viewers_are_set_against_themselves_alone() -> None:
    found = sound_round()
    assert (found.ratios, found.worst, stalled._broken(found, 2, 2)) == ([0.95], 0.9, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beside", [[9.0, 9.0]]),
        ("queue_bytes", [4 * 2**19 + 1]),
        ("left_bytes", [2 * 2**19 + 1]),
        ("reset_s", [15.1]),
        ("seen", [1]),
        ("never", 1),
        ("memory", [0, 0, 5 * 2**20]),
        ("cut", 1),
    ],
)
def test_stalled_viewers_break_promises_one_by_one(name: str, value: object) -> None:
    found = sound_round()
    setattr(found, name, value)
    assert len(stalled._broken(found, 2, 2)) == 1


@pytest.mark.parametrize(
    ("role", "end", "stopped", "good"),
    [
        ("viewer", 1012, False, True),
        ("viewer", 1012, True, True),
        ("mjpeg", "ended", False, True),
        ("viewer", "ended", False, False),
        ("viewer", 1011, True, False),
        ("viewer", "cut", False, False),
        ("viewer", "reset", True, True),
        ("mjpeg", None, False, False),
        ("mjpeg", None, True, False),
    ],
)
def test_who_was_stopped_may_find_the_line_cut_and_nobody_else(
    role: str, end: int | str | None, stopped: bool, good: bool
) -> None:
    found = drains.Found()
    drains._hear(found, role, end, stopped=stopped)
    assert (not found.broken) is good


@pytest.mark.parametrize(("code", "took", "said"), [(0, 10.0, 0), (1, 1.0, 1), (-9, 20.0, 2)])
def test_a_gateway_must_leave_with_0_and_in_time(code: int, took: float, said: int) -> None:
    found = drains.Found()
    drains._see(found, code, took)
    assert len(found.broken) == said


def test_the_commonest_traceback_is_shown() -> None:
    lines = [r'"Traceback (most recent call last):\n  x\nKeyError: 1"', *[r'"Traceback\nValueError: 2"'] * 2, "fine"]
    assert malformed._last_words(lines) == 'ValueError: 2"'


# --- connections -----------------------------------------------------------------------------------------------------


def test_bytes_that_nobody_reads_are_found_in_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client, listener.accept()[0] as ours:
            client.sendall(b"x" * 100)
            ours.sendall(b"y")
            assert queued(address) == (1, 0, 100)


async def test_the_head_of_an_answer_is_read_and_no_more() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"\r\nbody")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        line = await asyncio.to_thread(opened, server.sockets[0].getsockname(), READER, "/", 0)
        with line:
            assert await asyncio.to_thread(line.recv, 100) == b"body"
