"""Real WebRTC clients, unmodified, publish to a real gateway and watch it: pictures are counted at both ends."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.access.door import TOKEN, bearer, publish_token
from tests.interop.whip_clients import (
    HEIGHT,
    WIDTH,
    connected,
    ffmpeg,
    film,
    gstreamer,
    publishing,
    watching,
)
from tests.rtc_http import keep
from tests.server import Server, eventually, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """At this machine's own addresses, as clients would have it."""
    patience = {"FRAMEGATE_WEBRTC__ANSWER_S": "30", "FRAMEGATE_WEBRTC__CONNECT_S": "60"}
    with running(tmp_path_factory.mktemp("interop"), AUTH_TOKEN=TOKEN, **patience) as running_server:
        running_server.http.headers.update(bearer(TOKEN))
        keep(running_server)
        yield running_server


@pytest.fixture
def opened(server: Server) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = server.http.post("/stream/request", json={"analyzers": ["motion"]}).json()
    yield found
    server.http.delete(f"/stream/{found['stream_id']}")


def address(server: Server, opened: dict[str, Any]) -> str:
    """With the token in its path, where clients need none besides."""
    return str(server.url + opened["whip_url"])


def check_pictures(server: Server, opened: dict[str, Any], least: int = 30) -> dict[str, Any]:
    """Wait for pictures; they are of this size, and somebody looks at them."""
    stream_id = opened["stream_id"]
    eventually(lambda: server.show(stream_id)["frames_in"] >= least)
    shown = server.show(stream_id)
    assert (shown["publishers"], shown["state"]) == (1, "live")
    assert (shown["width"], shown["height"]) == (WIDTH, HEIGHT)
    eventually(lambda: server.show(stream_id)["frames_analyzed"] >= 3)
    return shown


def gone(server: Server, opened: dict[str, Any]) -> None:
    eventually(lambda: server.show(opened["stream_id"])["publishers"] == 0)


# --- libdatachannel, in the way of OBS -------------------------------------------------------------------------------


def test_libdatachannel_as_obs_uses_it(server: Server, opened: dict[str, Any], tmp_path: Path) -> None:
    path = f"{server.url}/stream/{opened['stream_id']}/whip"
    with publishing(tmp_path / "log", path, film(tmp_path / "film"), publish_token(opened)) as client:
        check_pictures(server, opened)
        client.end()
    assert client.told("status") == [201]
    assert client.told("deleted") == [200]
    gone(server, opened)


def test_libdatachannel_watches_what_libdatachannel_publishes(
    server: Server, opened: dict[str, Any], tmp_path: Path
) -> None:
    with publishing(tmp_path / "in", address(server, opened), film(tmp_path / "film")) as camera:
        check_pictures(server, opened)
        with watching(tmp_path / "out", server.url + opened["whep_url"]) as screen:
            eventually(lambda: max(screen.told("pictures"), default=0) >= 30)
            assert server.show(opened["stream_id"])["viewers"] == 1
            eventually(lambda: {"result", "status"} <= set(screen.told("text")))
            screen.end()
        camera.end()
    assert screen.told("deleted") == [200]
    sent, seen = camera.told("sent")[0], screen.told("pictures")[-1]
    assert 30 <= seen <= sent


# --- ffmpeg ----------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> dict[str, str]:
    """What ffmpeg makes itself with OpenSSL: an elliptic key of 256 bits. With GnuTLS, as in this build, it has 224."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ffmpeg")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    raw = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(key.private_bytes(pem, raw, serialization.NoEncryption()))
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


@pytest.mark.parametrize(
    "options", [{}, {"sound": "no"}, {"profile": "high"}], ids=["", "without sound", "high profile"]
)
def test_ffmpegs_muxer(server: Server, opened: dict[str, Any], tmp_path: Path, options: dict[str, str]) -> None:
    with ffmpeg(tmp_path / "log", address(server, opened), **certificate(tmp_path), **options) as client:
        check_pictures(server, opened)
        client.end()
        assert client.process.returncode == 0, client.log.read_text()[-2000:]
        assert client.told("sent")[0] >= 30
    gone(server, opened)


def test_ffmpegs_muxer_with_its_token_as_an_option(server: Server, opened: dict[str, Any], tmp_path: Path) -> None:
    path = f"{server.url}/stream/{opened['stream_id']}/whip"
    options = {**certificate(tmp_path), "authorization": publish_token(opened)}
    with ffmpeg(tmp_path / "log", path, **options) as client:
        check_pictures(server, opened, least=5)
        client.end()
    gone(server, opened)


# --- GStreamer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_debians_simple_whip_client(server: Server, opened: dict[str, Any], tmp_path: Path, codec: str) -> None:
    path = f"{server.url}/stream/{opened['stream_id']}/whip"
    with gstreamer(tmp_path / "log", path, codec=codec, token=publish_token(opened)) as client:
        connected(client)
        check_pictures(server, opened)
    said = client.log.read_text()
    assert "PeerConnection connected" in said
    assert "[trickle]" not in said  # what it says of a PATCH that was not answered 200 or 204
    assert "[WARN]" not in said  # nor does it complain of DELETE
    gone(server, opened)
