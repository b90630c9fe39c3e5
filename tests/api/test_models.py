"""Known weights over HTTP: what is there, whether it is what it should be, and fetching what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.weights import read_manifest, sha256_of
from tests.commands.file_server import Served, serving
from tests.server import Server, eventually, running

pytestmark = pytest.mark.e2e
NANO = "yolox_nano"


def model(server: Server, name: str) -> dict[str, Any]:
    found = server.http.get("/api/models/status").json()["models"]
    return next(dict(item) for item in found if item["name"] == name)


def analyzer(server: Server, name: str) -> dict[str, Any]:
    found = server.http.get("/api/models/status").json()["items"]
    return next(dict(item) for item in found if item["name"] == name)


@pytest.fixture(scope="module")
def nano() -> bytes:
    """The real file."""
    folder = os.environ.get("FRAMEGATE_MODELS_DIR", "")
    found = sorted(Path(folder).rglob("yolox_nano.onnx")) if folder else []
    if not found:
        pytest.skip("FRAMEGATE_MODELS_DIR has no yolox_nano.onnx")
    return found[0].read_bytes()


@pytest.fixture(scope="module")
def mirror() -> Iterator[Served]:
    with serving(Served(b"not a model")) as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mirror: Served) -> Iterator[Server]:
    """A gateway without weights, which would fetch them from the mirror."""
    address = mirror.url.rpartition("/")[0]
    with running(tmp_path_factory.mktemp("models"), FRAMEGATE_MODELS_MIRROR=address) as found:
        yield found


def test_the_status_names_every_known_file_with_licence_and_what_becomes_of_it(server: Server) -> None:
    known = read_manifest()
    listed = {item["name"]: item for item in server.http.get("/api/models/status").json()["models"]}
    assert listed.keys() == known.keys()
    assert {name: (item["licence"], item["expected"], item["state"]) for name, item in listed.items()} == {
        name: (weights.licence, weights.sha256, "missing") for name, weights in known.items()
    }


def test_the_root_has_the_same_route(server: Server) -> None:
    assert server.http.get("/models/status").json()["models"] == server.http.get("/api/models/status").json()["models"]


@pytest.mark.parametrize(
    ("name", "status", "code"), [("nothing", 404, "unknown_model"), ("cigarette", 422, "no_public_source")]
)
def test_what_cannot_be_fetched_is_refused_in_words(server: Server, name: str, status: int, code: str) -> None:
    answer = server.http.post(f"/api/models/{name}/download")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_download_that_is_not_the_published_file_is_thrown_away(server: Server, mirror: Served) -> None:
    mirror.body = b"x" * (read_manifest()[NANO].bytes or 0)
    answer = server.http.post(f"/api/models/{NANO}/download")
    assert (answer.status_code, answer.json()["download"]) == (202, "downloading")
    eventually(lambda: model(server, NANO)["download"] == "failed", within_s=60)
    found = model(server, NANO)
    assert found["state"] == "missing"
    assert "SHA-256" in found["reason"]


def test_a_download_brings_the_analyzer_to_work(server: Server, mirror: Served, nano: bytes) -> None:
    mirror.body = nano
    assert analyzer(server, "objects")["state"] == "failed"
    assert server.http.post(f"/api/models/{NANO}/download").status_code == 202
    eventually(lambda: model(server, NANO)["state"] == "right", within_s=60)
    eventually(lambda: analyzer(server, "objects")["state"] in ("idle", "ready"), within_s=60)
    assert server.http.post(f"/api/models/{NANO}/download").status_code == 200
    server.open(analyzers=["objects"])
    eventually(lambda: analyzer(server, "objects")["state"] == "ready", within_s=60)
    (file,) = analyzer(server, "objects")["files"]
    path = server.home / "data" / "models" / "yolox_nano.onnx"
    assert (file["state"], file["sha256"], file["path"], file["licence"]) == (
        *("right", sha256_of(path), str(path)),
        read_manifest()[NANO].licence,
    )
