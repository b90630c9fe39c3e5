"""A stranger's connector behind the real gateway: found, listed, refused without its permission, pulled with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import picture
from tests.server import Server, eventually, running

EXAMPLE = Path(__file__).parents[2] / "examples/framegate-stills/framegate_stills.py"


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
