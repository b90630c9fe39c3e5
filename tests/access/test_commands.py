"""`framegate push`, `watch` and `demo` where a credential is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.access.door import TOKEN, publish_token, view_token
from tests.pictures import picture
from tests.server import Server

pytestmark = pytest.mark.e2e


def framegate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    return subprocess.run(
        (sys.executable, "-m", "gateway", *arguments),
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, colour in enumerate(("red", "green", "blue")):
        (tmp_path / f"{number}.jpg").write_bytes(picture(colour))
    return tmp_path


def test_push_takes_its_token_from_the_environment_and_shows_a_link(guarded: Server, pictures: Path) -> None:
    done = framegate("push", str(pictures), "--url", guarded.url, "--analyzers", "", FRAMEGATE_TOKEN=TOKEN)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["sent", "3"] in rows
    assert [row[1].startswith(f"{guarded.url}/viewer/fgv_") for row in rows if row[:1] == ["viewer"]] == [True]
    assert (TOKEN in done.stdout, "fgp_" in done.stdout) == (False, False)


def test_push_goes_to_a_stream_by_its_token_alone(guarded: Server, stream: dict[str, Any], pictures: Path) -> None:
    done = framegate("push", str(pictures), "--url", f"{guarded.url}/stream/{publish_token(stream)}")
    assert (done.returncode, done.stderr) == (0, "")
    assert guarded.http.get(f"/stream/{publish_token(stream)}").json()["frames_in"] == 3


def test_without_a_token_push_and_watch_say_what_is_missing(
    guarded: Server, stream: dict[str, Any], pictures: Path
) -> None:
    push = framegate("push", str(pictures), "--url", guarded.url)
    watch = framegate("watch", f"{guarded.url}/stream/{stream['stream_id']}")
    assert (push.returncode, push.stderr) == (
        1,
        f"push: {guarded.url}/stream/request: 401: a credential is needed\n",
    )
    assert (watch.returncode, watch.stderr) == (
        1,
        f"watch: {guarded.url}/stream/{stream['stream_id']}: 401: a credential is needed\n",
    )


@pytest.mark.parametrize("by", ["link", "token"])
def test_watch_follows_a_link_or_an_id_with_a_token(guarded: Server, stream: dict[str, Any], by: str) -> None:
    place = view_token(stream) if by == "link" else stream["stream_id"]
    path = f"/viewer/{place}" if by == "link" else f"/stream/{place}"
    arguments = ("--token", TOKEN) if by == "token" else ()
    watching = subprocess.Popen(
        (sys.executable, "-m", "gateway", "watch", f"{guarded.url}{path}", "--json", *arguments),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["type"] == "hello"
        assert guarded.http.delete(f"/stream/{publish_token(stream)}").status_code == 204
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.stdout.close()  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_demo_works_where_a_credential_is_needed(tmp_path: Path) -> None:
    done = framegate(
        *("demo", "--seconds", "12", "--json"),
        FRAMEGATE_HOME=str(tmp_path),
        FRAMEGATE_AUTH="required",
        FRAMEGATE_TLS="1",
    )
    assert done.returncode == 0, done.stderr
    urls = json.loads(done.stdout)["urls"]
    token = (tmp_path / "secrets" / "auth_token").read_text().strip()
    assert ("/viewer/fgv_" in urls["viewer"], token in done.stdout + done.stderr) == (True, False)
