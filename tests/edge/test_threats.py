"""What somebody tries who means harm: hostile pictures, origins, names, ids and floods, against a real gateway, with a
healthy stream beside it that must not notice."""

from __future__ import annotations

import json
import secrets
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx2
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.corpus.message import pick
from bench.corpus.pictures import KINDS
from gateway.app import create_app
from gateway.settings import Settings
from tests.access.door import TOKEN, bearer, view_token
from tests.edge.conftest import limits
from tests.edge.raw import BINARY, PING, TEXT, ask, frame, open_socket, request, upgrade, wire
from tests.pictures import colour_of, picture, pixels
from tests.server import Server, eventually, running
from tests.sockets import farewell, framed, pong, shown, socket_to, told

pytestmark = pytest.mark.e2e

POLITE = ["framegate.v1"]


def rejected(server: Server, code: str) -> float:
    return server.metric("framegate_rejected_total", code=code)


def log_of(server: Server) -> list[dict[str, object]]:
    """Its log; fails for a line that is no JSON object. The address is told to people and is none."""
    return [json.loads(line) for line in server.log.splitlines() if not line.startswith("Framegate is at")]


@contextmanager
def healthy(server: Server) -> Iterator[None]:
    """A stream of red pictures, of which its viewer must see every one, as it was, and no other."""
    stream_id, over = server.open(), threading.Event()
    sent, seen = list[int](), list[tuple[int, str]]()

    def publish() -> None:
        with (
            socket_to(server, stream_id, "?frames=binary") as viewer,
            socket_to(server, stream_id, subprotocols=POLITE) as camera,
        ):
            while not over.wait(0.02):
                camera.send(framed(picture("red"), len(sent)))
                sent.append(told(camera, "ack")["seq"])
                pushed = shown(viewer)
                seen.append((pushed.seq, colour_of(pushed.jpeg)))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(sent) > 5
    assert seen == [(seq, "red") for seq in range(len(sent))]


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hostile_pictures_are_answered_as_documented_and_cost_nobody_else_a_frame(tmp_path: Path) -> None:
    """Through the gate, the analyzers' decoder and the picture worker's. What those complain of is logged as theirs."""
    chance, answers = Random(7), Counter[tuple[int, str]]()
    settings = {"FRAMEGATE_LOG__FORMAT": "json", "FRAMEGATE_LOG__WORKER_LINES_PER_S": "0.001"}
    with running(tmp_path, **settings, **limits(MAX_FPS="10000")) as server:
        stream_id = server.open(analyzers=["motion"])
        eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
        worker = server.metric("framegate_worker_restarts_total", worker="framegate")
        with healthy(server):
            for number in range(300):
                _, data = pick(chance, KINDS)
                path = f"/stream/{stream_id}/frame"
                answer = server.http.post(path, content=data, headers={"Content-Type": "image/jpeg"})
                answers[answer.status_code, answer.json().get("code", "")] += 1
                if answer.status_code == 200 and number % 2:
                    made = server.http.get(f"/stream/{stream_id}/snapshot.jpg?width=320")
                    answers[made.status_code, made.json()["code"] if made.is_error else ""] += 1
            assert server.push(stream_id, picture("blue"), wait=1)["analyzers"]["motion"]["state"] == "ready"
        assert set(answers) <= {
            *((200, ""), (202, "")),
            *((400, "bad_message"), (400, "bad_header"), (422, "undecodable"), (422, "truncated")),
            (413, "image_too_large"),
        }
        assert sum(count for (status, _), count in answers.items() if status >= 400) > 100
        assert server.metric("framegate_worker_restarts_total", worker="framegate") == worker
        log = log_of(server)
        complaints = [line for line in log if line["logger"] == "worker.stderr"]
        assert 0 < len(complaints) <= 2 * 101
        assert all(str(line["event"]).startswith(("framegate: ", "picture: ")) for line in complaints)
        assert "Traceback" not in server.log


def test_no_pixel_of_one_camera_reaches_the_viewers_of_another(server: Server) -> None:
    """Cut and zeroed pictures of one, between whole red ones of the other, all drawn anew by the same process."""
    noise = np.random.default_rng(1).integers(0, 90, (240, 320, 3), np.uint8)
    import cv2

    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    damaged = [whole[: len(whole) // part] + b"\xff\xd9" for part in (4, 3, 2)]
    damaged += [whole[:-part] + bytes(part) for part in (2000, 9000)]
    red, other, shown_at_all = server.open(), server.open(), 0
    for image in damaged * 3:
        server.push(red, picture("red", (320, 240)))
        assert colour_of(server.http.get(f"/stream/{red}/snapshot.jpg?width=320&quality=90").content) == "red"
        taken = server.http.post(f"/stream/{other}/frame", content=image)
        assert taken.status_code in (200, 422)
        for form in ("quality=90", "width=320", "draw=boxes"):
            answer = server.http.get(f"/stream/{other}/snapshot.jpg?{form}")
            if answer.status_code == 200:
                shown_at_all += 1
                bgr = pixels(answer.content).astype(int)
                assert not ((bgr[..., 2] > 180) & (bgr[..., 1] < 80)).any()
    assert shown_at_all, "no damaged picture was shown, so nothing was looked at"


PAYLOADS = [
    *(b"<html><script>alert(1)</script></html>", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    *(b"*/=alert(1)/*", b"<?php system('id'); ?>", b"%PDF-1.7 /JS (app.alert(1))", b"PK\3\4 an archive", b"GIF89a/*"),
    *(b"#!/bin/sh\nid\n", b"MZ\x90\0 a program", b"<!DOCTYPE html><body onload=alert(1)>"),
]


def polyglots() -> list[bytes]:
    """Pictures that are something else too: in a comment, and behind the end."""
    jpeg = picture("red")
    inside = [jpeg[:2] + b"\xff\xfe" + (len(each) + 2).to_bytes(2) + each + jpeg[2:] for each in PAYLOADS]
    return [*inside, *(jpeg + each for each in PAYLOADS)]


def test_a_picture_that_is_something_else_too_is_served_as_a_picture_alone(server: Server) -> None:
    stream_id, served = server.open(), 0
    for number, image in enumerate(polyglots()):
        hidden = PAYLOADS[number % len(PAYLOADS)]
        for kind in ("image/jpeg", "text/html", "image/svg+xml"):
            taken = server.post_frame(stream_id, image, headers={"Content-Type": kind, "X-Filename": "a.html"})
            assert taken.status_code in (200, 415, 422)
            served += taken.status_code == 200
        answer = server.http.get(f"/stream/{stream_id}/snapshot.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert hidden not in answer.content
    assert served >= 20


@pytest.mark.parametrize("off_s", [-3600.0, -6.0, 9.5, 3600.0, 0.001, 2.5])
def test_a_clock_that_is_wrong_is_flagged_and_not_believed(server: Server, off_s: float) -> None:
    """When a frame came is the gateway's own word; what the sender says stands beside it."""
    now = datetime.now(UTC)
    taken = (now + timedelta(seconds=off_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    answer = server.push(server.open(), picture("red"), wait=1, ts=taken)
    assert answer["captured_at"] == taken
    assert abs(datetime.fromisoformat(answer["received_at"]) - now) < timedelta(seconds=4)
    flagged = pytest.approx(off_s, abs=4) if abs(off_s) > 5 else None
    assert answer.get("clock_skew_s") == flagged


# --- messages --------------------------------------------------------------------------------------------------------

DOCUMENTS = {
    "deep": '{"type":"message","data":' + "[" * 2000 + "]" * 2000 + "}",
    "a-number-without-an-end": '{"type":"message","data":' + "9" * 60_000 + "}",
    "nan": '{"type":"message","data":NaN}',
    "infinity": '{"type":"message","data":-Infinity}',
    "a-name-twice": '{"type":"message","type":"ping"}',
    "a-lone-surrogate": '{"type":"message","data":"\\ud800"}',
    "an-array": "[1]",
    "half": '{"type":',
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_that_is_none_is_answered_and_the_fifth_closes(tight: Server, case: str) -> None:
    with socket_to(tight, tight.open()) as client:
        for _ in range(4):
            client.send(DOCUMENTS[case])
            assert told(client, "error")["code"] == "bad_json"
        client.send(DOCUMENTS[case])
        heard, code, reason = farewell(client)
    assert ([said["code"] for said in heard if said["type"] == "error"], code, reason) == (
        ["bad_json"],
        4400,
        "bad_json",
    )


@pytest.mark.parametrize(("size", "pieces"), [(65536, 1), (65537, 1), (655_360, 1), (65536, 8), (65600, 8)])
def test_a_message_has_its_limit_however_it_is_cut(tight: Server, size: int, pieces: int) -> None:
    before, fits = rejected(tight, "ws_too_big"), size <= 65536
    piece = bytes(size // pieces)
    parts = [frame(BINARY if not n else 0, piece, fin=n == pieces - 1) for n in range(pieces)]
    with open_socket(tight.address, f"/ws/stream/{tight.open()}") as client:
        outcome = client.send(b"".join(parts) + frame(PING, b"still there?")).outcome()
    assert outcome in (("open",) if fits else ("1009", "end"))  # a reset where it was still sending
    eventually(lambda: rejected(tight, "ws_too_big") == before + (0 if fits else 1))


def test_of_sixteen_compressed_bombs_none_is_inflated(tight: Server) -> None:
    """The memory grows by less than four bytes for each that was sent."""
    import zlib

    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(bytes(16 * 2**20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    process, path = psutil.Process(tight.process.pid), f"/ws/stream/{tight.open()}"
    memory, ends = process.memory_info().rss, []
    for _ in range(16):
        with wire(tight) as client:
            client.send(upgrade(path, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
            assert b"sec-websocket-extensions" not in client.until(b"\r\n\r\n").lower()
            ends.append(client.send(frame(BINARY, bomb[:-4], rsv=4)).outcome())
    assert set(ends) == {"1002"}
    assert process.memory_info().rss - memory < 4 * 16 * len(bomb)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = limits(HELLO_S="0.5", FLOOD_S="0.5", KEEP_ALIVE_S="60")
    with running(tmp_path_factory.mktemp("impatient"), FRAMEGATE_LOG__FORMAT="json", **settings) as found:
        yield found


def test_who_negotiates_and_says_nothing_is_gone_with_its_socket(impatient: Server) -> None:
    before = rejected(impatient, "hello_timeout")
    stream_id = impatient.open(grace_s=0)
    with socket_to(impatient, stream_id, subprotocols=POLITE) as silent:
        heard, code, _ = farewell(silent)
    assert (heard[-1]["code"], code) == ("hello_timeout", 4408)
    eventually(lambda: impatient.http.get(f"/stream/{stream_id}").status_code == 404)
    assert rejected(impatient, "hello_timeout") == before + 1


def test_who_floods_is_closed_and_nobody_else_loses_a_frame(impatient: Server) -> None:
    before, stream_id = rejected(impatient, "too_fast"), impatient.open()
    over, tiny = threading.Event(), frame(TEXT, b'{"type":"ping"}') * 200
    with healthy(impatient), open_socket(impatient.address, f"/ws/stream/{stream_id}") as flood:

        def pour() -> None:
            while not over.wait(0.01):
                flood.send(tiny)

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            while (outcome := flood.outcome()) == "open":
                pass
        finally:
            over.set()
            thread.join()
    assert outcome in ("4429", "end")  # a reset where it was still sending
    assert impatient.metric("framegate_websockets_closed_total", close_code="4429") == 1
    assert rejected(impatient, "too_fast") > before
    assert "Traceback" not in impatient.log


# --- who may --------------------------------------------------------------------------------------------------------

OWN_ORIGINS = ["http://localhost:3000", "http://localhost", "https://localhost:8443", "http://127.0.0.1:5173"]
FOREIGN_ORIGINS = [
    *("null", "*", "https://evil.example", "http://evil.example:8000", "http://localhost.evil.example"),
    *("http://127.0.0.1.evil.example", "http://localhost@evil.example", "http://evil.example/localhost"),
    *("http://evil.example?localhost", "http://evil.example#localhost", "http://evillocalhost", "http://xlocalhost:80"),
    *("http://192.0.2.7:8000", "http://0.0.0.0:8000", "http://2130706433", "http://0x7f000001", "http://127.1"),
    *("file://", "data:text/html,x", "chrome-extension://abcdefgh", "ftp://localhost", "javascript:alert(1)"),
    *("localhost", "//localhost", "http://", "http:localhost", "http://local host", "http://localhost:port"),
    *("http://localhost, https://evil.example", "https://evil.example http://localhost"),
]


@pytest.mark.parametrize("origin", OWN_ORIGINS + FOREIGN_ORIGINS)
def test_only_pages_of_this_machine_get_a_socket(server: Server, origin: str) -> None:
    host = "{}:{}".format(*server.address)
    with wire(server) as client:
        client.send(
            upgrade(f"/ws/stream/{server.open()}", f"Origin: {origin}").replace(
                b"Host: localhost", f"Host: {host}".encode()
            )
        )
        head = client.until(b"\r\n\r\n")
        status = int(head.split()[1])
        code = (
            json.loads(client.take(int(head.lower().partition(b"content-length: ")[2].split()[0])))["code"]
            if status != 101
            else ""
        )
    assert (status, code) == ((101, "") if origin in OWN_ORIGINS else (403, "origin"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It needs credentials, and forgives any number of wrong ones."""
    settings = {"AUTH_TOKEN": TOKEN, "FRAMEGATE_ACCESS__FAILURES": "100000", "FRAMEGATE_LOG__FORMAT": "json"}
    with running(tmp_path_factory.mktemp("locked"), **settings, **limits(LOG_REPEAT_S="0")) as found:
        yield found


def test_ids_cannot_be_guessed_nor_told_from_those_of_others(locked: Server) -> None:
    """A thousand guesses hit nothing, and what is another's takes as long to refuse as what there is not."""
    mine, others = (
        locked.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json() for _ in range(2)
    )
    headers, took = bearer(view_token(mine)), {"foreign": [], "unknown": []}  # type: ignore[var-annotated]
    seen = set[tuple[int, str]]()
    for _ in range(500):
        for kind, name in (("foreign", others["stream_id"]), ("unknown", secrets.token_hex(16))):
            began = time.perf_counter()
            answer = locked.http.get(f"/stream/{name}", headers=headers)
            took[kind].append(time.perf_counter() - began)
            seen.add((answer.status_code, answer.json()["code"]))
    assert seen == {(404, "not_found")}
    assert len(mine["stream_id"]) == 32
    assert 0.8 < statistics.median(took["foreign"]) / statistics.median(took["unknown"]) < 1.25


# --- requests --------------------------------------------------------------------------------------------------------


def test_ranges_beyond_counting_cost_no_more_than_a_page(server: Server) -> None:
    """As many as a header holds; one more and the header is too large."""
    process = psutil.Process(server.process.pid)

    def spent() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    def cost(*lines: str, status: int) -> float:
        before = spent()
        with wire(server) as client:
            for _ in range(200):
                assert client.send(request("/viewer/viewer.js", *lines)).answer().status == status
        return spent() - before

    many = "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(5000))
    plain, ranges = cost("X-Padding: " + "*" * len(many), status=200), cost(many, status=416)
    assert ranges <= 2 * plain + 0.05
    assert ask(server, request("/viewer/viewer.js", "Range: bytes=" + "0-0," * 50_000)).status == 431


@pytest.mark.slow
def test_nothing_that_a_peer_writes_breaks_a_line_of_the_log(locked: Server) -> None:
    chance, headers = Random(3), bearer(TOKEN)
    for _ in range(200):
        raw = bytes(chance.choice(b'\x01\x08\x0b\x1b\x7f\x80\x9b\xa0\xff"\\{}aZ') for _ in range(12))
        path = "/stream/" + "".join(f"%{byte:02x}" for byte in raw + b"\r\n")
        data = request(path, "User-Agent: @", "Referer: @", "X-Forwarded-For: @").replace(b"@", raw)
        with wire(locked) as client:
            client.send(data).rest()
    for name in ("a\r\nb", "\x1b[31m", "\x00", "\u202e", "\u2028", "x" * 65):
        wish = {"name": name, "analyzers": []}
        answer = locked.http.post("/stream/request", json=wish, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert len(log_of(locked)) > 100
    assert all(line.isprintable() for line in locked.log.splitlines())


def test_no_answer_names_the_host_that_was_asked_for(tmp_path: Path) -> None:
    ways = [(), ("X-Forwarded-Host: evil.example",), ("Forwarded: host=evil.example",)]
    pages = [("POST", "/stream/request"), ("GET", "/"), ("GET", "/viewer"), ("GET", "/openapi.json"), ("GET", "/docs")]
    with running(tmp_path, FRAMEGATE_ALLOWED_HOSTS='["*"]', AUTH_TOKEN=TOKEN) as server:
        own = ("Content-Length: 0", "Connection: close", f"Authorization: Bearer {TOKEN}")
        for lines in ways:
            for method, path in pages:
                with wire(server) as client:
                    said = client.send(request(path, *own, *lines, method=method, host="evil.example")).rest()
                assert said is not None
                assert (int(said.split()[1]) < 400, b"evil.example" in said) == (True, False)


async def test_a_defect_of_ours_is_told_by_its_number_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(hub: object) -> None:
        raise RuntimeError(f"the secret is in {tmp_path}")

    monkeypatch.setattr("gateway.api.system.exposition", broken)
    app = create_app(Settings(home=tmp_path))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        answer = await http.get("/metrics")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert [word for word in ("secret", str(tmp_path), "RuntimeError", "Traceback") if word in answer.text] == []


# --- what is kept ----------------------------------------------------------------------------------------------------


def series(server: Server) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(server.http.get("/metrics").text)
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


@pytest.mark.slow
def test_two_hundred_streams_add_no_series_and_a_few_lines_each(tmp_path: Path) -> None:
    with running(tmp_path, FRAMEGATE_LOG__FORMAT="json") as server:

        def live() -> None:
            stream_id = server.open(name=secrets.token_urlsafe(12))
            server.push(stream_id, picture("red"))
            server.http.post(f"/stream/{stream_id}/frame", content=secrets.token_bytes(40))
            server.http.get(f"/stream/{secrets.token_hex(16)}/snapshot.jpg")
            server.http.get("/", headers={"Host": f"{secrets.token_hex(4)}.example"})
            with socket_to(server, stream_id) as client:
                client.send(secrets.token_urlsafe(20))
                pong(client)
            server.http.delete(f"/stream/{stream_id}")

        live()
        eventually(lambda: server.metric("framegate_streams", state="live") == 0)
        before, lines = series(server), len(log_of(server))
        for _ in range(200):
            live()
        assert series(server) == before
        grown = log_of(server)[lines:]
        refusals = [line for line in grown if str(line["event"]).startswith("refused ")]
        assert len(refusals) < 20, "each kind once in ten seconds"
        assert len(grown) < 200 * 12
