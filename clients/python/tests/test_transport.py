"""Requests: the credential, certificates, base paths, redirects, and how patient a call is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from framegate_client import AsyncClient, Busy, FramegateError, GatewayFailed, Stream, Unreachable
from framegate_client.address import Address, stream_path
from websockets.http11 import Request

from clients.python.tests.peer import Peer

SECRET = "a-bearer-token"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://gate", "http://gate/"),
        ("http://gate:8000/", "http://gate:8000/"),
        ("https://gate/cameras/north/", "https://gate/cameras/north/"),
        ("http://[::1]:8000", "http://[::1]:8000/"),
    ],
)
def test_an_address_is_the_base_of_all_paths(url: str, base: str) -> None:
    address = Address.parse(url)
    assert (address.base, address.secure) == (base, url.startswith("https"))
    assert address.socket_url("ws/stream/door") == f"{base.replace('http', 'ws', 1)}ws/stream/door"


@pytest.mark.parametrize("url", ["gate:8000", "ws://gate", "", "http://", "http://user:secret@gate"])
def test_what_is_no_address_of_a_gateway_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected http|token=") as raised:
        AsyncClient(url)
    assert "secret" not in str(raised.value)


def test_a_path_of_a_gateway_that_does_not_know_its_base_path_gets_it() -> None:
    address = Address.parse("http://gate/north")
    assert address.url("/viewer?stream_id=1") == "http://gate/north/viewer?stream_id=1"
    assert address.url("/north/viewer") == "http://gate/north/viewer"
    assert address.url("http://other/viewer") == "http://other/viewer"
    assert stream_path("../a b?c") == "stream/..%2Fa%20b%3Fc"


async def test_the_credential_goes_with_every_request_in_a_header_only(peer: Peer) -> None:
    peer.greets = True
    async with peer.client(token=SECRET, headers={"X-Gate": "north"}) as client:
        await client.status("door")
        async with client.watch("door"), client.publish("door"):
            pass
    assert len(peer.requests) == 3
    for request in peer.requests:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        assert request.headers["X-Gate"] == "north"
        assert request.headers["User-Agent"].startswith("framegate-client/")
        assert SECRET not in request.path


async def test_a_base_path_stands_before_every_path(peer: Peer) -> None:
    peer.greets = True
    async with peer.client(url=f"{peer.url}/north/") as client:
        await client.status("door")
        async with client.watch("door"):
            pass
    assert [request.path for request in peer.requests] == ["/north/stream/door", "/north/ws/stream/door"]


async def test_a_redirect_is_told_and_never_followed(peer: Peer) -> None:
    async with Peer() as other:
        peer.refuse = lambda request: (307, {"Location": other.url + request.path}, {})
        async with peer.client(token=SECRET) as client:
            for entering in (client.watch("door").__aenter__(), client.status("door")):
                with pytest.raises(FramegateError, match="somewhere else: http://127") as raised:
                    await entering
                assert raised.value.code == "moved"
        assert other.requests == [], "the credential would have gone with it"


async def test_a_socket_is_opened_where_the_client_was_told_the_gateway_is(peer: Peer) -> None:
    elsewhere = Stream("door", "//elsewhere/ws/stream/door")
    async with peer.client(token=SECRET) as client:
        with pytest.raises(GatewayFailed, match="somewhere else") as raised:
            await client.watch(elsewhere).__aenter__()
    assert raised.value.code == "moved"


async def test_a_call_waits_as_long_as_it_is_told_and_no_longer_than_its_patience(peer: Peer) -> None:
    loop, asked = asyncio.get_running_loop(), []

    def busy_once(request: Request) -> tuple[int, dict[str, str], dict[str, Any]] | None:
        asked.append(loop.time())
        return (429, {"Retry-After": "1"}, {"code": "too_many"}) if len(asked) == 1 else None

    peer.refuse = busy_once
    async with peer.client() as patient, peer.client(patience_s=0.5) as hasty:
        assert (await patient.status("door")).state == "live"
        assert asked[1] - asked[0] >= 1
        asked.clear()
        with pytest.raises(Busy) as raised:
            await hasty.status("door")
        assert (raised.value.code, raised.value.status, raised.value.retry_after_s) == ("too_many", 429, 1.0)
        assert len(asked) == 1


async def test_a_proxy_without_its_gateway_is_waited_for(peer: Peer) -> None:
    def gone_twice(request: Request) -> tuple[int, dict[str, str], dict[str, Any]] | None:
        return (502, {}, {}) if len(peer.requests) < 3 else None

    peer.refuse = gone_twice
    async with peer.client() as client:
        assert (await client.status("door")).state == "live"
    assert len(peer.requests) == 3


@pytest.mark.parametrize("body", [{}, {"state": 1}, {"stream_id": "door", "state": "live", "frames_in": "many"}])
async def test_an_answer_of_something_else_is_an_error_not_a_traceback(peer: Peer, body: dict[str, Any]) -> None:
    peer.status = (200, body)
    async with peer.client() as client:
        with pytest.raises(GatewayFailed) as raised:
            await client.status("a-streams-token")
    assert raised.value.code == "not_framegate"
    assert "token" not in str(raised.value)


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gate")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "gate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@asynccontextmanager
async def secured(certificate: Path) -> AsyncIterator[Peer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Peer(tls=context) as peer:
        peer.greets = True
        yield peer


@pytest.mark.parametrize("trusts", ["file", "nobody", "context"])
async def test_a_certificate_of_ones_own_is_trusted_by_its_file(certificate: Path, trusts: str) -> None:
    verify = {"file": str(certificate), "nobody": False, "context": ssl.create_default_context(cafile=certificate)}
    async with secured(certificate) as peer, peer.client(verify=verify[trusts]) as client:
        assert (await client.status("door")).state == "live"
        async with client.watch("door") as viewer:
            assert viewer.state == "open"


async def test_a_certificate_that_is_not_trusted_is_told_at_once(certificate: Path) -> None:
    async with secured(certificate) as peer, peer.client(patience_s=60) as client:
        for entering in (client.watch("door").__aenter__(), client.status("door")):
            with pytest.raises(Unreachable, match="not trusted") as raised:
                await entering
            assert raised.value.code == "certificate"
