"""The first start in required mode: a token of its own making, shown once; and no start with a weak one."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.access.door import bearer
from tests.server import running

pytestmark = pytest.mark.e2e


def refused(
    folder: Path, *arguments: str, command: str = "gateway serve --port 0", **environment: str
) -> tuple[int, str]:
    """How a start that does not come up ends, and what it says."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    done = subprocess.run(
        (sys.executable, "-m", *command.split(), *arguments),
        cwd=folder,
        env={**inherited, "FRAMEGATE_HOME": str(folder / "data"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_the_first_start_shows_a_token_in_a_box_and_the_second_only_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "data" / "secrets" / "auth_token"
    log = {"FRAMEGATE_LOG__FILE": str(tmp_path / "json.log"), "FRAMEGATE_LOG__LEVEL": "DEBUG"}
    with running(tmp_path, FRAMEGATE_AUTH="required", **log) as server:
        token = file.read_text().strip()
        box = re.findall(r"^\| (.*) \|$", server.log, re.MULTILINE)
        assert (f"token    {token}" in [line.strip() for line in box], server.log.count(token)) == (True, 1)
        assert {len(line) for line in box} == {len(box[0])}
        assert f"log in   {server.url}/login" in [line.strip() for line in box]
        assert server.http.get("/status").status_code == 401
        assert server.http.get("/status", headers=bearer(token)).status_code == 200
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    assert re.fullmatch(r"fga_[A-Za-z0-9_-]{43}", token)
    file.chmod(0o644)
    with running(tmp_path, FRAMEGATE_AUTH="required", **log) as server:
        assert (token in server.log, str(file) in server.log) == (False, True)
        assert server.http.get("/status", headers=bearer(token)).status_code == 200
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token not in (tmp_path / "json.log").read_text()


def test_an_open_gateway_makes_no_secret(server_home: Path) -> None:
    assert not (server_home / "data" / "secrets").exists()


@pytest.fixture
def server_home(server: object) -> Path:
    home = getattr(server, "home", None)
    assert isinstance(home, Path)
    return home


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AUTH_TOKEN": "too-short"}, "auth_token has 9 characters, which is too short: 16 at least"),
        ({"FRAMEGATE_AUTH_TOKEN": "your-secret-token"}, "auth_token is known to everybody"),
    ],
    ids=["short", "known"],
)
def test_a_weak_token_is_refused_before_any_port_is_open(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    code, errors = refused(tmp_path, **environment)
    assert (code, errors.splitlines()[0].startswith(f"weak_secret: {said}")) == (3, True)
    assert ("Traceback" in errors, "Framegate is at" in errors) == (False, False)


@pytest.mark.slow
def test_a_bare_uvicorn_refuses_a_weak_token_too(tmp_path: Path) -> None:
    code, errors = refused(tmp_path, AUTH_TOKEN="too-short", command="uvicorn gateway.app:app --port 0")
    assert (code, errors.startswith("weak_secret: auth_token has 9 characters")) == (3, True)


def test_a_certificate_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    code, errors = refused(tmp_path, "--cert", "none.pem")
    assert (code, errors) == (1, "tls: there is no certificate none.pem\n")
