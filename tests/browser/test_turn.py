"""TURN: pages that may use nothing but a relay publish and watch by coturn, with the login the gateway tells them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.rtsp import free_port
from tests.browser.test_publish import sends_on, start
from tests.browser.test_webrtc import LINES, way
from tests.server import Server, eventually, running

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.slow]

SECRET = "what the gateway and coturn share"
# As a network does that lets nothing through but a connection to the relay.
RELAYED = """{ const Line = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Line {
  constructor(how) { super({ ...how, iceTransportPolicy: "relay" }); } }; }"""
# The way that the media go: type of our candidate, and how the relay is reached.
WAY = """async () => {
  const stats = await lines.at(-1).getStats(), all = [...stats.values()];
  const transport = all.find((one) => one.type === "transport");
  const pair = stats.get(transport?.selectedCandidatePairId), local = stats.get(pair?.localCandidateId);
  return local ? [local.candidateType, local.relayProtocol] : null;
}"""


@contextmanager
def coturn(folder: Path, secret: str) -> Iterator[int]:
    """A relay on this machine; its port, for UDP and TCP."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("there is no relay: apt install coturn")
    port, log = free_port(), folder / "coturn.log"
    here = ["-L", "127.0.0.1", "-E", own_address(), "-p", str(port), "--no-tls", "--no-dtls", "--no-cli"]
    login = ["-a", "--use-auth-secret", f"--static-auth-secret={secret}", "-r", "framegate.test"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "-n", *here, *login, f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'db'}", "-l", "stdout"],
            stdout=out,
            stderr=out,
        )
    try:
        eventually(lambda: listens(port), within_s=10)
        yield port
    finally:
        process.kill()
        process.wait()


def own_address() -> str:
    """One of this machine's that is not loopback: where relayed packets come from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def behind_a_relay(folder: Path, transport: str, *, secret: str = SECRET) -> Iterator[Server]:
    with coturn(folder, SECRET) as port:
        settings = {
            "FRAMEGATE_WEBRTC__ICE_SERVERS": json.dumps([f"turn:127.0.0.1:{port}?transport={transport}"]),
            "FRAMEGATE_WEBRTC__TURN_SECRET": secret,
            "FRAMEGATE_WEBRTC__ANSWER_S": "30",
        }
        with running(folder, **settings) as server:
            yield server


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_who_may_use_a_relay_only_publishes_and_watches_by_it(
    phone: Any, page: Any, tmp_path: Path, transport: str
) -> None:
    with behind_a_relay(tmp_path, transport) as server:
        for each in (phone, page):
            each.context.add_init_script(RELAYED)
            each.context.add_init_script(LINES)
        stream = start(phone, server.url)
        way(phone, "WebRTC")
        sends_on(phone, 10)
        page.goto(f"{server.url}/viewer?stream_id={stream}")
        page.locator("#picture[data-seq]").wait_for()
        way(page, "WebRTC")
        assert [each.evaluate(WAY) for each in (phone, page)] == [["relay", transport]] * 2


def test_a_relay_that_refuses_the_login_leaves_the_socket(phone: Any, tmp_path: Path) -> None:
    with behind_a_relay(tmp_path, "udp", secret="another secret") as server:
        phone.context.add_init_script(RELAYED)
        start(phone, server.url)
        way(phone, "WebSocket")
        sends_on(phone, 5)
