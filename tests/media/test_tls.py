"""Cameras behind TLS: their certificate has to hold, unless the operator says otherwise."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.media.dial import dial
from gateway.media.messages import Setup
from gateway.media.sources import Source
from tests.media.fake_rtsp import fake_camera
from tests.media.pulling import pool, pull
from tests.media.web_camera import web_camera


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A camera's own, self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "camera.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize(
    ("media", "code"),
    [({}, "tls"), ({"tls_verify": False}, None), ({"tls_ca": True}, None)],
    ids=["unknown issuer", "not verified", "known issuer"],
)
async def test_the_certificate_of_a_camera_has_to_hold(
    tmp_path: Path, certificate: Path, media: dict[str, bool], code: str | None
) -> None:
    if "tls_ca" in media:
        media = {"tls_ca": certificate}  # type: ignore[dict-item]
    with web_camera(tls=server_side(certificate)) as camera:
        async with pool(tmp_path, camera.port, **media) as running:
            _, watcher = pull(running, camera.url.replace("http", "https") + "/mjpeg")
            await watcher.until(lambda: watcher.shots or watcher.codes)
    assert watcher.codes == ([code] if code else [])


async def test_rtsps_is_tls_from_the_first_byte(tmp_path: Path, certificate: Path) -> None:
    busy = b"RTSP/1.0 503 No\r\nCSeq: %d\r\n\r\n"
    with fake_camera(tls=server_side(certificate), DESCRIBE=busy) as camera, fake_camera() as plain:
        async with pool(tmp_path, camera.port, plain.port, tls_ca=certificate) as running:
            _, watcher = pull(running, f"rtsps://127.0.0.1:{camera.port}/x")
            _, other = pull(running, f"rtsps://127.0.0.1:{plain.port}/x")
            await watcher.until(lambda: watcher.codes)
            await other.until(lambda: other.codes)
    assert watcher.codes[0] == "busy"
    assert camera.asked[0].split()[1] == f"rtsps://127.0.0.1:{camera.port}/x"
    assert other.codes[0] in ("tls", "timeout")
    assert plain.asked == []


def test_a_connection_that_is_cut_by_another_thread_does_not_go_on_in_the_open(certificate: Path) -> None:
    with web_camera(tls=server_side(certificate)) as camera:
        setup = Setup(endpoints=(f"127.0.0.1:{camera.port}",), tls_ca=str(certificate))
        line = dial(Source("http", "127.0.0.1", camera.port, tls=True), setup)
        line.cut()
        assert isinstance(line.socket, ssl.SSLSocket)
        assert line.socket.version() is not None
        assert line.socket.recv(1) == b""
        line.socket.close()
