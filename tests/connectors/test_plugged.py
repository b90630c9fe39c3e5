"""A stranger's connector behind the real gateway: found, listed, refused without its permission, pulled with it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gateway.api.connect import _parsed
from gateway.engine.connectors import ConnectorManifest
from gateway.engine.request import SessionRequest
from gateway.errors import AtCapacity, BadSource
from gateway.media.sources import Source
from gateway.service_camera import Order, Post, ServiceCamera
from gateway.service_courier import Courier, Listener
from gateway.service_runtime import Device
from tests.clock import simulated
from tests.doubles import FakeAnalyzer, FakeWorker, engine
from tests.pictures import picture
from tests.server import Server, eventually, running

EXAMPLE = Path(__file__).parents[2] / "examples/framegate-stills/framegate_stills.py"
SLOW_S = 14  # longer than anybody is held up for an import


class SlowReader(FakeWorker):
    """A worker whose plugin has a connector and takes its time."""

    async def start(self) -> dict[str, Any]:
        manifest = ConnectorManifest("slow", self.name, "1")
        return {**await super().start(), "connectors": [asdict(manifest)]}


@simulated
async def test_who_comes_while_a_connector_is_imported_is_told_to_come_back_by_the_server_and_in_a_script() -> None:
    async with engine(SlowReader(FakeAnalyzer("any"), hello_s=SLOW_S)) as hub:

        async def in_script(scheme: str) -> None:
            order = Order("A", "", Source("plugin", path="x", connector=scheme), Device(), SessionRequest())
            camera = ServiceCamera(order, Post(Courier(Listener()), Listener()), hub.settings)
            await camera._check_connector(hub)

        await hub.introduced()
        for scheme in ("slow", "nobodys"):
            with pytest.raises(AtCapacity) as by_server:
                _parsed(f"{scheme}:x", hub)
            with pytest.raises(AtCapacity) as by_script:
                await in_script(scheme)
            assert [(at.value.code, at.value.retry_after_s) for at in (by_server, by_script)] == [("starting", 2)] * 2
        with pytest.raises(BadSource):
            _parsed({"url": "slow:x"}, hub)
        await asyncio.sleep(SLOW_S)
        assert _parsed("slow:x", hub).connector == "slow"
        await in_script("slow")
        with pytest.raises(BadSource):
            _parsed("nobodys:x", hub)
        with pytest.raises(BadSource, match="no connector reads nobodys:"):
            await in_script("nobodys")


def plugin_of(server: Server, name: str) -> dict[str, Any]:
    items = server.http.get("/api/plugins").json()["items"]
    found: dict[str, Any] = next(item for item in items if item["name"] == name)
    return found


def settings(**permissions: list[str]) -> dict[str, str]:
    return {
        "FRAMEGATE_PLUGINS": json.dumps([str(EXAMPLE)]),
        "FRAMEGATE_PLUGIN_PERMISSIONS": json.dumps(permissions),
        "FRAMEGATE_PLUGINS_OFF": json.dumps(["anomaly", "bags", "faces", "objects", "smoking", "tracks", "zones"]),
    }


@pytest.mark.slow
@pytest.mark.e2e
def test_pictures_of_a_folder_are_a_stream_once_the_operator_allows_it(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(picture("red", (64, 48)))
    wish = {"stream_url": f"stills:{folder}", "analyzers": []}
    with running(tmp_path / "allowed", **settings(framegate_stills=["files"])) as server:
        about = plugin_of(server, "framegate_stills")
        assert (about["connectors"], about["permissions"]["asked"]) == (["stills"], ["files"])
        assert plugin_of(server, "demo")["connectors"] == ["demo"]
        answer = server.http.post("/stream/connect", json=wish)
        assert answer.status_code == 200, answer.text
        stream_id = answer.json()["stream_id"]
        eventually(lambda: server.show(stream_id)["frames_in"] == 1)
        (folder / "2.jpg").write_bytes(picture("blue", (32, 24)))
        status = eventually(lambda: (at := server.show(stream_id))["frames_in"] == 2 and at)
        assert (status["width"], status["camera"]["source"]) == (32, "stills:***")
        kinds = {child["kind"] for child in server.http.get("/status").json()["media"]["children"]}
        assert kinds == {"plugin"}
        assert "libav" not in Path(f"/proc/{server.process.pid}/maps").read_text()


@pytest.mark.e2e
@pytest.mark.slow
def test_without_its_permission_a_connector_is_refused_with_the_line_that_grants_it(tmp_path: Path) -> None:
    with running(tmp_path / "refused", **settings()) as server:
        answer = server.http.post("/stream/connect", json={"stream_url": f"stills:{tmp_path}", "analyzers": []})
        assert (answer.status_code, answer.json()["code"]) == (422, "source_scheme")
        assert 'framegate_stills = ["files"]' in answer.json()["detail"].replace(
            '"framegate_stills"', "framegate_stills"
        )
        answer = server.http.post("/stream/connect", json={"stream_url": "nobodys:x", "analyzers": []})
        assert (answer.status_code, answer.json()["code"]) == (422, "source_scheme")
        assert server.http.get("/stream").json()["items"] == []


@pytest.mark.e2e
@pytest.mark.slow
def test_a_connector_that_imports_slowly_is_had_by_who_comes_back(tmp_path: Path) -> None:
    plugin = tmp_path / "slow_stills.py"
    plugin.write_text(f"import time\ntime.sleep({SLOW_S})\n{EXAMPLE.read_text()}")
    chosen = {**settings(slow_stills=["files"]), "FRAMEGATE_PLUGINS": json.dumps([str(plugin)])}
    with running(tmp_path / "home", **chosen) as server:
        wish = {"stream_url": f"stills:{tmp_path}", "analyzers": []}
        early = server.http.post("/stream/connect", json=wish)
        assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (503, "starting", "2")
        eventually(lambda: server.http.post("/stream/connect", json=wish).status_code == 200)
