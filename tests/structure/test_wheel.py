"""What is in the wheel, and that a fresh environment with nothing but the wheel serves all pages."""

from __future__ import annotations

import re
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

import gateway
from tests.pictures import picture
from tests.server import running
from tests.structure.fresh import Environment
from tests.structure.source import OURS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = (
    *("/viewer", "/publish", "/publish/publish.js", "/client/framegate.js", "/docs", "/redoc"),
    *("/docs/protocol", "/asyncapi.json", "/openapi.json"),
)
SERVED = ("static/viewer", "static/publish", "clients/js/src")
PLACES = {
    "static/viewer": "gateway/static/viewer",
    "static/publish": "gateway/static/publish",
    "clients/js/src": "gateway/static/client",
}


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    return set(ZipFile(wheel).namelist())


def test_every_module_of_ours_is_in_it(files: set[str]) -> None:
    found = (path for top in OURS for path in (ROOT / top).rglob("*.py"))
    modules = {path.relative_to(ROOT).as_posix() for path in found}
    assert modules - files == set()
    assert "gateway/manifest.toml" in files


@pytest.mark.parametrize("folder", SERVED)
def test_the_pages_are_in_it(files: set[str], folder: str) -> None:
    served = {path.name for path in (ROOT / folder).iterdir() if path.is_file() and not path.name.startswith(".")}
    assert {f"{PLACES[folder]}/{name}" for name in served} - files == set()


def test_the_prose_the_pages_show_is_in_it(files: set[str]) -> None:
    assert "gateway/static/docs/protocol.md" in files


def test_nothing_else_is_in_it(files: set[str]) -> None:
    tops = {name.partition("/")[0] for name in files}
    assert tops == {"gateway", "analyzers", f"framegate-{gateway.__version__}.dist-info"}
    assert [name for name in files if re.search(r"\.(onnx|pt|mp4|pyc)$|test_|/tests/|node_modules", name)] == []


def test_it_says_who_it_is(wheel: Path) -> None:
    info = f"framegate-{gateway.__version__}.dist-info"
    with ZipFile(wheel) as archive:
        about = message_from_string(archive.read(f"{info}/METADATA").decode())
        points = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert (about["Name"], about["Version"]) == ("framegate", gateway.__version__)
    assert about["License-Expression"] == "Apache-2.0"
    assert "framegate = gateway.cli:main" in points
    assert [name for name in ("motion", "objects", "smoking") if f"{name} = analyzers.{name}" not in points] == []
    assert "Apache License" in licence


def test_a_fresh_environment_serves_every_page_and_analyzes(fresh: Environment, tmp_path: Path) -> None:
    where = fresh.run("python", "-c", "import gateway; print(gateway.__file__)").strip()
    assert where.startswith(str(fresh.folder)), "the checkout is in the way"
    assert fresh.run("framegate", "--version") == f"framegate {gateway.__version__}\n"
    with running(tmp_path / "home", command=(fresh.command("framegate"), "serve", "--port", "0")) as server:
        for page in PAGES:
            answer = server.http.get(page)
            assert (page, answer.status_code) == (page, 200)
        for address in re.findall(r'(?:src|href)="(/docs/assets/[^"]+|/viewer/[^"]+)"', _pages(server.http)):
            assert server.http.get(address).status_code == 200, address
        stream_id = server.open(analyzers=["motion"])
        assert "motion" in server.push(stream_id, picture("green"), wait=1)["analyzers"]


def _pages(http: object) -> str:
    return "".join(http.get(page).text for page in ("/viewer", "/docs", "/redoc"))  # type: ignore[attr-defined]
