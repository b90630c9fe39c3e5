"""Sources that plugins read: in a process of their own, at our pace, and what becomes of a plugin that fails."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.connector import Connector, check_connector
from gateway.engine.plugins import PluginSpec, load
from gateway.engine.wire import BrokenWire
from gateway.jpeg import read_header
from gateway.media.messages import report
from gateway.media.plugged import _told
from gateway.media.sources import Source
from tests.media.pulling import pool, pull

BASE = """
import time
import numpy as np
from gateway import Capture, Connector, SourceFailed, hookimpl

class Plain(Connector):
    scheme = "plain"
    def captures(self, demand):
        while demand.wait(0.05):
            yield Capture(np.full((120, 160, 3), 90, np.uint8))
"""
OTHERS = """
class Bad(Plain):
    scheme = "bad"
    def captures(self, demand):
        yield Capture(np.full((120, 160, 3), 90, np.uint8))
        {what}

@hookimpl
def register_connectors():
    return [Plain, Bad]
"""


def plugin(folder: Path, name: str, what: str = "pass") -> PluginSpec:
    path = folder / f"{name}.py"
    path.write_text(BASE + OTHERS.format(what=what))
    return PluginSpec(name, path=str(path), version="file")


@asynccontextmanager
async def plugged(folder: Path, what: str = "pass", **media: Any) -> Any:
    """A pool with the connectors `plain` and `bad` of one file, and `other`, of another one."""
    spec, other = plugin(folder, "first", what), plugin(folder, "second")
    async with pool(folder, **media) as running:
        demo = running.connectors()
        running.connectors = lambda: {**demo, "plain": [spec], "bad": [spec], "other": [other]}
        yield running


def source(scheme: str, path: str = "") -> Source:
    return Source("plugin", path=path, connector=scheme)


# --- what is refused -------------------------------------------------------------------------------------------------


def made(**attributes: Any) -> type[Connector]:
    return type("Made", (Connector,), {"scheme": "made", "captures": lambda self, demand: iter(()), **attributes})


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"scheme": "RTSP"}, "scheme must be"),
        ({"scheme": "rtsp"}, "the gateway reads rtsp: itself"),
        ({"api": ">=2"}, "is written for plugin API >=2"),
        ({"permissions": "network"}, "permissions must be a tuple"),
        ({"permissions": ("everything",)}, "there is no permission everything"),
        ({"captures": Connector.captures}, "does not define captures"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused(attributes: dict[str, Any], said: str) -> None:
    check_connector(made())
    with pytest.raises(TypeError, match=said):
        check_connector(made(**attributes))


def test_of_two_connectors_of_one_scheme_the_second_is_refused(tmp_path: Path) -> None:
    loaded = load([plugin(tmp_path, "first"), plugin(tmp_path, "second")])
    assert {scheme: spec.name for scheme, (_, spec) in loaded.connectors.items()} == {"plain": "first", "bad": "first"}
    assert "two connectors are called plain" in loaded.failed["second"]


# --- at work ---------------------------------------------------------------------------------------------------------


async def test_pixels_become_jpeg_of_the_wished_size_at_the_wished_pace(tmp_path: Path) -> None:
    async with plugged(tmp_path) as running:
        _, watcher = pull(running, source("plain"), fps=5, side=80)
        await watcher.pictures(6)
        (worker,) = running.workers
        child = psutil.Process(worker.pid)
        assert (worker.kind, worker.group) == ("plugin", str(tmp_path / "first.py"))
    header = read_header(watcher.jpegs[0])
    assert (header.width, header.height) == (80, 60)
    steps = [later.at - earlier.at for earlier, later in zip(watcher.shots, watcher.shots[1:], strict=False)]
    assert sum(steps) / len(steps) == pytest.approx(0.2, abs=0.06)
    assert watcher.states == ["connecting", "online"]
    assert not child.is_running()


async def test_plugins_of_strangers_share_no_process_with_anybody(tmp_path: Path) -> None:
    async with plugged(tmp_path) as running:
        watchers = [pull(running, source(scheme))[1] for scheme in ("plain", "plain", "demo")]
        for watcher in watchers:
            await watcher.until(lambda watcher=watcher: watcher.shots)  # type: ignore[misc]
        groups = sorted((worker.group, len(worker.feeds)) for worker in running.workers)
    assert groups == sorted([(str(tmp_path / "first.py"), 2), ("framegate", 1)])


WRONG = {
    'raise SourceFailed("auth", "the token is refused")': "auth",
    'raise SourceFailed("nonsense", "whatever")': "connector",
    'raise ZeroDivisionError("canary")': "connector",
    "raise ConnectionRefusedError": "refused",
    "raise SystemExit": "connector",
    'yield Capture(b"no picture")': "codec",
    'yield "no capture"': "connector",
    "yield Capture(np.zeros((4, 4), np.uint8))": "connector",
    "yield Capture(np.zeros((4, 4, 3), np.uint8), time.time() * 1000)": "connector",
    'yield Capture(np.zeros((4, 4, 3), np.uint8), float("nan"))': "connector",
    'yield Capture(np.zeros((4, 4, 3), np.uint8), "now")': "connector",
}


async def test_what_a_connector_does_wrong_has_its_word(tmp_path: Path) -> None:
    what = "\n".join([f"if demand.wait(0.1) and self.address == '{n}':\n            {w}" for n, w in enumerate(WRONG)])
    async with plugged(tmp_path, what.replace("\nif", "\n        if")) as running:
        pulled = [pull(running, source("bad", str(number)), fps=100)[1] for number in range(len(WRONG))]
        for bad in pulled:
            await bad.until(lambda bad=bad: bad.codes)  # type: ignore[misc]
        assert (len(running.workers), running.restarts) == (1, 0)
    assert [bad.codes[0] for bad in pulled] == list(WRONG.values())
    assert all(bad.states[:2] == ["connecting", "online"] for bad in pulled)
    assert "canary" not in repr([bad.tolds for bad in pulled])


@pytest.mark.parametrize("captured", [-1, 4e15, 10**400])
def test_a_time_of_capture_that_is_none_is_no_message(captured: int) -> None:
    with pytest.raises(BrokenWire, match="captured_us"):
        report(
            {"t": "frame", "number": 1, "at": 0.0, "width": 4, "height": 4, "keyframe": True, "captured_us": captured}
        )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("//user:geheim@cam.example/x?key=wort", "no way to bad://user:geheim@cam.example/x?key=wort"),
        ("//user:geheim@cam.example/x?key=wort", "Max retries: host='cam.example', url: /x?key=wort, auth geheim"),
        ("geheimwort", "there is no geheimwort"),
    ],
)
def test_what_a_connector_raises_is_logged_without_its_address(
    address: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = _told("bad", address, ValueError(words))
    assert (told.code, "geheim" in told.detail) == ("connector", False)
    assert [secret for secret in ("geheim", "wort") if secret in caplog.text] == []
    assert "ValueError: " in caplog.text


async def test_a_connector_that_returns_has_ended_and_one_that_nobody_has_is_told(tmp_path: Path) -> None:
    async with plugged(tmp_path) as running:
        _, through = pull(running, source("bad"))
        _, unknown = pull(running, source("nobody"))
        await through.until(lambda: through.states[-1:] == ["ended"])
    assert [(told.state, told.code) for told in unknown.tolds] == [("lost", "connector")]


@pytest.mark.slow
@pytest.mark.parametrize("strike", ["hang", "kill"])
async def test_a_plugin_that_hangs_or_dies_costs_its_own_streams_one_reconnect(tmp_path: Path, strike: str) -> None:
    what = "time.sleep(3600)" if strike == "hang" else "demand.wait(3600)"
    async with plugged(tmp_path, what, read_s=1.0, no_frame_s=1.0, ping_s=0.5) as running:
        _, bad = pull(running, source("bad"))
        _, steady = pull(running, source("demo"))
        await steady.pictures(1)
        await bad.until(lambda: bad.shots)
        if strike == "kill":
            os.kill(next(w.pid or 0 for w in running.workers if w.group != "framegate"), signal.SIGKILL)
        await bad.until(lambda: bad.states.count("online") >= 2, 60)
    assert bad.codes[0] == ("hang" if strike == "hang" else "media_child")
    assert steady.states == ["connecting", "online"]


async def test_a_source_that_is_closed_ends_the_generator_of_its_connector(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    what = """
        try:
            while demand.wait(0.05):
                yield Capture(np.full((120, 160, 3), 90, np.uint8))
        finally:
            __import__("logging").getLogger("bad").warning("closed in time")
"""
    async with plugged(tmp_path, what) as running:
        feed, bad = pull(running, source("bad"))
        _, kept = pull(running, source("plain"))  # or the child would end at once
        await bad.until(lambda: len(bad.shots) >= 2)  # so it is in there
        running.close(feed)
        await kept.until(lambda: "closed in time" in caplog.text)
