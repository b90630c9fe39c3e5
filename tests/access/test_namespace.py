"""The gateway as another machine sees it: from a network namespace with an address of its own, over TLS and not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.access.door import TOKEN
from tests.server import SERVE, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HERE, THERE = "10.213.77.1", "10.213.77.2"

# Runs over there: it has the certificate and the token, and this project's client libraries, nothing else of ours.
CLIENT = """
import json, ssl, sys
import httpx2
from websockets.sync.client import connect
url, cafile, token, picture = sys.argv[1:]
trust = ssl.create_default_context(cafile=cafile) if cafile else None
told = {}
with httpx2.Client(base_url=url, verify=trust or False, trust_env=False, timeout=30) as http:
    told["statuses"] = [http.get(path).status_code for path in ("/health", "/ready", "/status", "/viewer", "/login")]
    told["host"] = http.get("/status", headers={"Host": "localhost"}).status_code
    told["forwarded"] = http.get("/status", headers={"X-Forwarded-For": "127.0.0.1"}).status_code
    admin = {"Authorization": "Bearer " + token}
    stream = http.post("/stream/request", json={"analyzers": []}, headers=admin).json()
    with connect(url.replace("http", "ws", 1) + stream["websocket_url"], ssl=trust, proxy=None) as camera:
        told["hello"] = json.loads(camera.recv())["stream_id"] == stream["stream_id"]
        camera.send(open(picture, "rb").read())
        while http.get(stream["snapshot_url"]).status_code != 200:
            pass
    told["same"] = http.get(stream["snapshot_url"]).content == open(picture, "rb").read()
print(json.dumps(told))
"""


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True, timeout=20)


@pytest.fixture(scope="module")
def there() -> Iterator[str]:
    """A network namespace, joined to this one by a cable; its name."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root with iproute2 can make a network namespace")
    name, near, far = f"fg{os.getpid()}", f"fgn{os.getpid()}"[:15], f"fgf{os.getpid()}"[:15]
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("address", "add", f"{HERE}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "address", "add", f"{THERE}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
    except subprocess.CalledProcessError as error:
        ip("netns", "delete", name)
        pytest.skip(f"no cable between network namespaces can be made here: {error.stderr.strip()}")
    yield name
    ip("netns", "delete", name)  # and the cable with it


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_another_machine_needs_a_token_whatever_it_says_it_is(
    tmp_path: Path, there: str, media_picture: Path, tls: bool
) -> None:
    command = (*SERVE, "--host", HERE, *(("--tls",) if tls else ()))
    with running(tmp_path, command=command, AUTH_TOKEN=TOKEN) as server:
        cafile = str(server.home / "data" / "tls" / "cert.pem") if tls else ""
        told = _run(there, server.url, cafile, TOKEN, str(media_picture))
        assert server.url.startswith("https://" if tls else "http://")
        assert ("without TLS" in server.log, "fingerprint" in server.log) == (not tls, tls)
    assert told == {
        "statuses": [200, 200, 401, 401, 200],
        "host": 401,
        "forwarded": 401,
        "hello": True,
        "same": True,
    }


@pytest.fixture
def media_picture(tmp_path: Path) -> Path:
    from tests.pictures import picture

    path = tmp_path / "picture.jpg"
    path.write_bytes(picture("red"))
    return path


def _run(namespace: str, *arguments: str) -> dict[str, Any]:
    command = ("ip", "netns", "exec", namespace, sys.executable, "-c", CLIENT, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told
