"""TLS: a certificate of our own making, the operator's, and the whole gateway behind it, not only on loopback."""

from __future__ import annotations

import hashlib
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway import tls
from gateway.settings import Settings
from gateway.tls import TlsFailed, identity
from tests.access.door import TOKEN, bearer
from tests.pictures import colour_of, picture
from tests.server import SERVE, Server, running
from tests.sockets import farewell, shown, told


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(home=folder, **more)


def made(folder: Path, **more: Any) -> tuple[x509.Certificate, str]:
    found = identity(settings(folder, tls=True, **more))
    assert found is not None
    return x509.load_pem_x509_certificate(found.certificate.read_bytes()), found.fingerprint


def pair(
    folder: Path, name: str = "given", *, days: float = 90, begin: float = -1, password: bytes | None = None
) -> tuple[Path, Path]:
    """A certificate and its key, as an operator would bring them."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(title, title, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(form)
    return paths


# --- our own ---------------------------------------------------------------------------------------------------------


def test_without_the_setting_there_is_none(tmp_path: Path) -> None:
    assert (identity(settings(tmp_path)), list(tmp_path.iterdir())) == (None, [])


def test_the_certificate_names_this_machine_and_its_key_is_nobody_elses(tmp_path: Path) -> None:
    cert, fingerprint = made(tmp_path, host="192.0.2.7")
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    told = {str(name.value) for name in names}
    assert {"localhost", socket.gethostname().lower(), "127.0.0.1", "::1", "192.0.2.7", *tls.own_addresses()} <= told
    key = cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert (key.curve.name, cert.not_valid_after_utc - cert.not_valid_before_utc < timedelta(days=399)) == (
        "secp256r1",
        True,
    )
    der = hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    assert fingerprint == ":".join(der[at : at + 2] for at in range(0, 64, 2))
    modes = [stat.S_IMODE((tmp_path / "tls" / name).stat().st_mode) for name in ("key.pem", "cert.pem", ".")]
    assert modes == [0o600, 0o644, 0o700]


def test_it_stays_until_it_is_near_its_end_or_names_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = made(tmp_path)
    assert made(tmp_path)[0] == first
    other_host, _ = made(tmp_path, host="192.0.2.7")
    assert other_host.serial_number != first.serial_number
    monkeypatch.setattr(tls, "RENEW", timedelta(days=398))
    renewed, _ = made(tmp_path, host="192.0.2.7")
    assert renewed.serial_number != other_host.serial_number
    keys = {cert.public_key().public_bytes(*_DER) for cert in (first, other_host, renewed)}
    assert len(keys) == 1  # who pinned it goes on


_DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_what_was_spoiled_is_made_again(tmp_path: Path, name: str) -> None:
    made(tmp_path)
    (tmp_path / "tls" / name).write_text("nonsense")
    if name == "key.pem":
        (tmp_path / "tls" / "cert.pem").unlink()
    cert, _ = made(tmp_path)
    assert cert.not_valid_after_utc > datetime.now(UTC)


# --- the operator's --------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_given_is_served(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    found = identity(settings(tmp_path, cert=cert, key=key))
    assert found is not None
    assert (found.certificate, found.own, found.warning) == (cert, False, "")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    assert identity(settings(tmp_path, cert=both)) is not None


@pytest.mark.parametrize(
    ("days", "begin", "said"),
    [(-0.5, -9, "expired on"), (3, -1, "expires in 2 days"), (90, 2, "is valid from")],
    ids=["over", "soon over", "not yet"],
)
def test_its_dates_are_told_and_it_is_served_all_the_same(tmp_path: Path, days: float, begin: float, said: str) -> None:
    cert, key = pair(tmp_path, days=days, begin=begin)
    found = identity(settings(tmp_path, cert=cert, key=key))
    assert found is not None
    assert said in found.warning


def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    other, _ = pair(tmp_path, "other")
    locked, locked_key = pair(tmp_path, "locked", password=b"secret")
    text = tmp_path / "text"
    text.write_text("no certificate")
    missing = tmp_path / "missing"
    cases: list[tuple[dict[str, Path], str]] = [
        ({"cert": missing, "key": key}, f"there is no certificate {missing}"),
        ({"cert": cert, "key": missing}, f"there is no key {missing}"),
        ({"key": key}, "key is set, but cert is not: name the certificate too"),
        ({"cert": other, "key": key}, f"the key {key} is not the key of the certificate {other}"),
        ({"cert": text, "key": key}, f"{text} holds no certificate in PEM form"),
        ({"cert": locked, "key": locked_key}, f"the key {locked_key} has a passphrase; the gateway takes one without"),
    ]
    for given, said in cases:
        with pytest.raises(TlsFailed) as failed:
            identity(settings(tmp_path, **given))
        assert str(failed.value) == said
    for given in ({"cert": cert, "key": text}, {"cert": cert}):
        with pytest.raises(TlsFailed, match="cannot use the certificate"):
            identity(settings(tmp_path, **given))


# --- the whole gateway -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway with --tls on an address that is not loopback, as a phone would see it."""
    addresses = [address for address in tls.own_addresses() if ":" not in address]
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    command = (*SERVE, "--tls", "--host", addresses[0])
    limits = {"FRAMEGATE_LIMITS__VIEWER_STALL_S": "1"}
    with running(tmp_path_factory.mktemp("tls"), command=command, AUTH_TOKEN=TOKEN, **limits) as server:
        yield server


def trust(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.home / "data" / "tls" / "cert.pem"))


def connect(server: Server, path: str, **more: Any) -> Any:
    from websockets.sync.client import connect

    context = trust(server)
    # This client reads in a thread and writes in another; the tickets that TLS 1.3 sends behind its handshake make
    # Python 3.11 lose the request once in a thousand times. The other clients here speak 1.3.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return connect(server.ws + path, ssl=context, proxy=None, close_timeout=2, **more)


@pytest.mark.e2e
def test_frames_go_through_with_the_certificate_verified(secure: Server) -> None:
    assert secure.url.startswith("https://")
    assert not secure.url.startswith("https://127.")
    stream = secure.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    with (
        connect(secure, stream["websocket_url"]) as camera,
        connect(secure, stream["websocket_url"] + "?frames=binary") as viewer,
    ):
        camera.send(picture("red"))
        assert colour_of(shown(viewer).jpeg) == "red"
        with secure.http.stream("GET", stream["video_url"]) as video:
            body = b""
            for chunk in video.iter_raw():
                body += chunk
                if body.count(b"--frame") == 2:
                    break
        head, _, rest = body.partition(b"\r\n\r\n")
        assert (head.startswith(b"--frame\r\nContent-Type: image/jpeg"), picture("red") in rest) == (True, True)
        camera.send('{"type":"frame","image":"!"}')
        assert told(camera, "error")["code"] == "bad_base64"
        assert secure.http.delete(f"/stream/{stream['stream_token']}").status_code == 204
        assert farewell(camera)[1] == 4404


@pytest.mark.e2e
def test_who_does_not_know_the_certificate_is_not_let_be_fooled(secure: Server) -> None:
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx2.get(secure.url + "/health")
    seen = ssl.get_server_certificate(secure.address)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(seen)).hexdigest().upper()
    assert ":".join(digest[at : at + 2] for at in range(0, 64, 2)) in secure.log


@pytest.mark.e2e
@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 64, b"\x16\x03\x01\xff\xff" + b"x" * 99]
)
def test_who_speaks_no_tls_is_closed_without_a_word_in_the_log(secure: Server, said: bytes) -> None:
    with socket.create_connection(secure.address, timeout=10) as plain:
        plain.sendall(said)
        plain.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := plain.recv(4096):
                answer += chunk
        except ConnectionResetError:
            pass
    assert len(answer) <= 16  # an alert record at most
    assert secure.http.get("/health").status_code == 200
    assert "Traceback" not in secure.log


@pytest.mark.e2e
def test_a_refusal_in_the_middle_of_a_body_can_be_read(secure: Server) -> None:
    with httpx2.Client(base_url=secure.url, verify=trust(secure), timeout=20) as http:
        answer = http.post("/stream/request", content=b"x" * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (401, "credential")


@pytest.mark.e2e
def test_a_viewer_that_takes_nothing_is_reset_behind_tls_too(secure: Server) -> None:
    stream = secure.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    raw = socket.create_connection(secure.address, timeout=30)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with trust(secure).wrap_socket(raw, server_hostname=secure.address[0]) as stalled:
        stalled.sendall(f"GET {stream['video_url']} HTTP/1.1\r\nHost: {secure.address[0]}\r\n\r\n".encode())
        assert stalled.recv(15) == b"HTTP/1.1 200 OK"
        big = picture("white", (1920, 1080))
        with connect(secure, stream["websocket_url"]) as camera:
            while secure.http.get(f"/stream/{stream['stream_token']}").json()["viewers"]:
                camera.send(big)
        held = [at.raddr for at in psutil.Process(secure.process.pid).net_connections("tcp")]
        assert stalled.getsockname() not in held  # no queue is left in the kernel
