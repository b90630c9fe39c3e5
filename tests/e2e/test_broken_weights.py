"""Weights that are missing, cut off, exchanged or of another network: who needs them says so, and the others run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.plugins import BUILT_IN, discover, load
from gateway.weights import read_manifest
from tests.pictures import picture
from tests.server import Server, eventually, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

BREAKAGES = ("missing", "cut off", "one byte changed", "another network")
LOAD_S = 120.0


@dataclass(frozen=True)
class Healthy:
    """What a gateway with all its weights has: the files of each analyzer, and what each needs, itself included."""

    files: dict[str, list[Path]]
    needs: dict[str, set[str]]
    references: set[str]


def built_ins() -> list[str]:
    """The analyzers that read weights."""
    ours = [spec for spec in discover() if spec.distribution == BUILT_IN]
    classes = [cls for cls, _ in load(ours).analyzers.values()]
    return sorted(cls.name for cls in classes if "missing" in vars(cls))


def test_whoever_can_lack_weights_names_them() -> None:
    ours = [spec for spec in discover() if spec.distribution == BUILT_IN]
    silent = [c.name for c, _ in load(ours).analyzers.values() if "missing" in vars(c) and "weights" not in vars(c)]
    assert silent == [], "say in weights() which files are read, so that the host can check them"


@pytest.fixture(scope="module")
def models() -> Path:
    folder = os.environ.get("FRAMEGATE_MODELS_DIR")
    if not folder:
        pytest.skip("FRAMEGATE_MODELS_DIR is not set: real weights are missing")
    return Path(folder)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Healthy:
    with running(tmp_path_factory.mktemp("healthy"), FRAMEGATE_MODELS_DIR=str(models)) as server:
        items = introduced(server)
        able = [name for name, item in items.items() if item["state"] != "failed"]
        server.open(analyzers=able)
        settled(server, able)
        status = server.http.get("/api/models/status").json()["items"]
    needs = {name: {name, *item["needs"]} for name, item in items.items()}
    for _ in items:
        needs = {name: {deep for need in direct for deep in needs.get(need, {need})} for name, direct in needs.items()}
    return Healthy(
        files={item["name"]: [Path(file["path"]) for file in item["files"]] for item in status if item["name"] in able},
        needs={name: needs[name] for name in able},
        references={weights.file for weights in read_manifest().values() if weights.sha256},
    )


def introduced(server: Server) -> dict[str, dict[str, Any]]:
    """The analyzers by name, when all plugins have been imported."""

    def look() -> bool:
        return all(item["state"] != "starting" for item in server.http.get("/api/plugins").json()["items"])

    eventually(look, within_s=LOAD_S)
    return {item["name"]: item for item in server.http.get("/api/analyzers").json()["items"]}


def settled(server: Server, names: list[str]) -> dict[str, dict[str, Any]]:
    """The analyzers' items of the models' status, when each is ready or has failed."""

    def look() -> dict[str, dict[str, Any]]:
        items = {item["name"]: item for item in server.http.get("/api/models/status").json()["items"]}
        return items if all(items[name]["state"] not in ("idle", "loading") for name in names) else {}

    return eventually(look, within_s=LOAD_S)


def lay(folder: Path, healthy: Healthy, name: str, how: str) -> str:
    """A models folder with links to all files but the first one of this analyzer, which is broken; its name."""
    folder.mkdir()
    broken = healthy.files[name][0]
    every = {path.name: path for paths in healthy.files.values() for path in paths}
    for path in every.values():
        if path.name != broken.name:
            (folder / path.name).symlink_to(path)
    whole = broken.read_bytes()
    other = min((path for path in every.values() if path.name != broken.name), key=lambda path: path.stat().st_size)
    if how == "cut off":
        (folder / broken.name).write_bytes(whole[: len(whole) // 2])
    elif how == "one byte changed":
        middle = len(whole) // 2  # among the numbers, where only the hash can tell
        (folder / broken.name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif how == "another network":
        (folder / broken.name).write_bytes(other.read_bytes())
    return broken.name


@pytest.mark.parametrize("how", BREAKAGES)
@pytest.mark.parametrize("name", built_ins())
def test_only_those_that_need_broken_weights_fail_and_say_why(
    tmp_path: Path, healthy: Healthy, name: str, how: str
) -> None:
    if not healthy.files.get(name):
        pytest.skip(f"the weights of {name} are missing")
    if how == "one byte changed" and healthy.files[name][0].name not in healthy.references:
        pytest.skip(f"no SHA-256 of {healthy.files[name][0].name} is published: nobody can know")
    file = lay(tmp_path / "models", healthy, name, how)
    struck = {other for other in healthy.files if file in {path.name for path in healthy.files[other]}}
    behind = {other for other, needs in healthy.needs.items() if needs & struck} - struck
    with running(tmp_path / "home", FRAMEGATE_MODELS_DIR=str(tmp_path / "models")) as server:
        names = sorted(healthy.files)
        introduced(server)
        stream_id = server.open(analyzers=names)
        items = settled(server, names)
        assert {other: items[other]["state"] for other in names} == {
            other: "failed" if other in struck else "ready" for other in names
        }
        assert all(items[other]["reason"] for other in struck)
        answer = server.push(stream_id, picture("red", (640, 480)), wait=1)["analyzers"]
        assert {other: "detections" in answer[other] for other in names} == {
            other: other not in struck | behind for other in names
        }
        assert {answer[other]["state"] for other in struck} == {"failed"}
        shown = {item["name"]: item for item in server.show(stream_id)["analyzers"]}
        assert all(shown[other]["reason"] for other in struck)
