"""To a gateway that made its own certificate: trusted by the file that its start names, and by nothing less."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from framegate_client import AsyncClient, Client, Frame, Unauthenticated, Unreachable

from tests.pictures import colour_of, picture
from tests.server import SERVE, Server, running

pytestmark = pytest.mark.slow

TOKEN = "a-static-token-of-the-client-7"
COLOURS = ["red", "green", "blue"]
PRINTED = re.compile(r"The certificate (\S+) has the SHA-256 fingerprint\s+([0-9A-F:]{95})")


class Secure(NamedTuple):
    """A gateway, and what its start printed of its certificate."""

    server: Server
    certificate: Path
    fingerprint: str


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with running(tmp_path_factory.mktemp("tls"), command=(*SERVE, "--tls"), AUTH_TOKEN=TOKEN) as server:
        found = PRINTED.search(server.log)
        assert found is not None, server.log
        yield Secure(server, Path(found[1]), found[2])


def test_the_file_is_the_certificate_whose_fingerprint_was_printed(secure: Secure) -> None:
    der = ssl.PEM_cert_to_DER_cert(secure.certificate.read_text())
    assert hashlib.sha256(der).hexdigest() == secure.fingerprint.replace(":", "").lower()


@pytest.mark.parametrize("as_context", [False, True], ids=["file", "context"])
async def test_pictures_go_there_and_back_with_the_certificate_verified(secure: Secure, as_context: bool) -> None:
    trust = ssl.create_default_context(cafile=secure.certificate) if as_context else secure.certificate
    shown, entered = asyncio.Semaphore(1), asyncio.Event()

    async def pictures() -> AsyncIterator[bytes]:
        for colour in COLOURS:
            await shown.acquire()  # a viewer is shown the newest: the next one comes when it has the last
            yield picture(colour)

    async def watch(client: AsyncClient, stream: str) -> list[str]:
        seen: list[str] = []
        async with client.watch(stream, frames="binary") as viewer:
            entered.set()
            async for message in viewer:
                if isinstance(message, Frame):
                    seen.append(colour_of(message.jpeg))
                    shown.release()
                if len(seen) == len(COLOURS):
                    break
        return seen

    async with AsyncClient(secure.server.url, token=TOKEN, verify=trust, trust_env=False) as client:
        stream = await client.request(analyzers=[])
        watching = asyncio.create_task(watch(client, stream.stream_id))
        await entered.wait()
        async with client.publish(stream) as camera:
            assert await camera.run(pictures()) == len(COLOURS)
        assert await watching == COLOURS
        assert colour_of(await client.snapshot(stream)) == "blue"
        assert client.url(stream.viewer_url).startswith("https://")
        await client.delete(stream)


def test_a_plain_script_publishes_and_another_one_watches(secure: Secure) -> None:
    seen: list[str] = []
    ready = threading.Event()

    def watch(stream: str) -> None:
        with (
            Client(secure.server.url, token=TOKEN, verify=secure.certificate, trust_env=False) as client,
            client.watch(stream, frames="binary") as viewer,
        ):
            ready.set()
            seen.extend(colour_of(message.jpeg) for message in viewer if isinstance(message, Frame))

    with Client(secure.server.url, token=TOKEN, verify=secure.certificate, trust_env=False) as client:
        stream = client.request(analyzers=[])
        viewer = threading.Thread(target=watch, args=(stream.stream_id,))
        viewer.start()
        assert ready.wait(20)
        with client.publish(stream) as camera:
            assert camera.send(picture("red")) == 0
            assert camera.flush()
        assert colour_of(client.snapshot(stream)) == "red"
        client.delete(stream)
        viewer.join(20)
    assert seen == ["red"]


async def test_without_its_certificate_nothing_is_sent_and_no_waiting_is_done(secure: Secure) -> None:
    async with AsyncClient(secure.server.url, token=TOKEN, trust_env=False, patience_s=60) as stranger:
        with pytest.raises(Unreachable, match="is not trusted") as request_failed:
            await stranger.health()
        with pytest.raises(Unreachable, match="is not trusted") as socket_failed:
            async with stranger.watch("0" * 32):
                pass
    assert (request_failed.value.code, socket_failed.value.code) == ("certificate", "certificate")


async def test_trust_in_the_certificate_is_no_credential(secure: Secure) -> None:
    async with AsyncClient(secure.server.url, verify=secure.certificate, trust_env=False) as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.list()
