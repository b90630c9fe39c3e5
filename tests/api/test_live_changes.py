"""Changing a live stream over a real server, with plugins of a folder in workers of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import picture
from tests.server import BUILT_IN, Server, eventually, running

pytestmark = pytest.mark.e2e

COUNTER = """
from dataclasses import dataclass
from gateway import Analyzer, Result, hookimpl

@dataclass(frozen=True)
class Options:
    step: int = 1
    def __post_init__(self):
        if self.step > 100:
            raise ValueError("step must be 100 or less")

class Counter(Analyzer):
    "How many frames of a stream it has seen."
    name = "NAME"
    Options = Options
    def open(self, session):
        return {"seen": 0, "step": session.options.step}
    def configure(self, session, memory):
        return {**memory, "step": session.options.step}
    def analyze(self, frame, memory):
        memory["seen"] += memory["step"]
        return Result(measures={"seen": memory["seen"]})

@hookimpl
def register_analyzers():
    return [Counter]
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("live")
    folder = home / "data" / "plugins"
    folder.mkdir(parents=True)
    for name in ("counter", "tally"):
        (folder / f"{name}.py").write_text(COUNTER.replace("NAME", name))
    (folder / "twin.py").write_text(COUNTER.replace("NAME", "counter"))
    (folder / "broken.py").write_text("import nothing_of_that_name")
    (folder / "_draft.py").write_text("1/0")
    with running(home) as found:
        yield found


def change(server: Server, stream_id: str, **body: Any) -> dict[str, Any]:
    answer = server.http.patch(f"/stream/{stream_id}", json=body)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    assert changed.keys() == server.show(stream_id).keys()
    return changed


def opened(server: Server, *analyzers: str, **wish: Any) -> str:
    """A stream whose analyzers are ready."""
    stream_id = server.open(analyzers=analyzers, **wish)
    ready(server, stream_id)
    return stream_id


def ready(server: Server, stream_id: str) -> None:
    eventually(lambda: {item["state"] for item in server.show(stream_id)["analyzers"]} <= {"ready"})


def seen(server: Server, stream_id: str, name: str) -> Any:
    return server.push(stream_id, picture("red"), wait=1)["analyzers"][name]["measures"]["seen"]


def test_who_stays_remembers_who_is_tuned_remembers_and_who_comes_back_does_not(live: Server) -> None:
    stream_id = opened(live, "counter")
    assert [seen(live, stream_id, "counter") for _ in range(3)] == [1, 2, 3]
    changed = change(live, stream_id, analyzers=["counter", "tally"])
    assert [item["name"] for item in changed["analyzers"]] == ["counter", "tally"]
    ready(live, stream_id)
    assert (seen(live, stream_id, "tally"), seen(live, stream_id, "counter")) == (1, 5)
    changed = change(live, stream_id, options={"counter": {"step": 10}})
    assert changed["options"] == {"counter": {"step": 10}}
    assert (seen(live, stream_id, "counter"), seen(live, stream_id, "tally")) == (15, 4)
    change(live, stream_id, analyzers=["tally"])
    change(live, stream_id, analyzers=["tally", "counter"])
    assert (seen(live, stream_id, "counter"), seen(live, stream_id, "tally")) == (1, 6)
    counters = {item["name"]: item["analyzed"] for item in live.show(stream_id)["analyzers"]}
    assert counters == {"counter": 9, "tally": 6}


def test_what_only_the_analyzers_own_code_knows_is_told_with_the_reason(live: Server) -> None:
    stream_id = opened(live, "counter")
    change(live, stream_id, options={"counter": {"step": 101}})
    said = live.push(stream_id, picture("red"), wait=1)["analyzers"]["counter"]
    assert (said["dropped"], said["reason"]) == ("unknown_option", "analyzer counter: step must be 100 or less")
    assert live.show(stream_id)["analyzers"][0]["reason"] == said["reason"]
    change(live, stream_id, options={"counter": {"step": None}})
    assert seen(live, stream_id, "counter") == 1
    assert "reason" not in live.show(stream_id)["analyzers"][0]


def test_a_paused_stream_shows_pictures_and_analyses_nothing(live: Server) -> None:
    stream_id = opened(live, "counter")
    for route in ("pause", "pause"):
        assert live.http.post(f"/stream/{stream_id}/{route}").json()["paused"] is True
    said = live.push(stream_id, picture("red"), wait=1)
    assert said["analyzers"] == {"counter": {"state": "ready", "dropped": "paused"}}
    assert live.http.get(f"/stream/{stream_id}/snapshot.jpg?draw=boxes").status_code == 200
    assert live.http.post(f"/stream/{stream_id}/resume").json()["paused"] is False
    assert seen(live, stream_id, "counter") == 1


@pytest.mark.parametrize(
    ("body", "code", "hint"),
    [
        ({"analyzer": []}, "unknown_option", "a stream has no 'analyzer' to change; did you mean analyzers?"),
        ({"analyzers": ["countr"]}, "unknown_analyzer", "did you mean counter?"),
        ({"options": {"counter": {"step": "two"}}}, "unknown_option", "expected a whole number, got 'two'"),
        ({"options": {"tally": {"step": 2}}}, "unknown_option", "not among this stream's analyzers"),
        ({"max_fps": 0}, "invalid", "body.max_fps"),
        ({"paused": "perhaps"}, "invalid", "body.paused"),
    ],
)
def test_a_wrong_change_is_a_problem_and_changes_nothing(live: Server, body: object, code: str, hint: str) -> None:
    stream_id = live.open(analyzers=["counter"])
    answer = live.http.patch(f"/stream/{stream_id}", json={"name": "new", **body} if isinstance(body, dict) else body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert hint in answer.json()["detail"]
    assert live.show(stream_id)["name"] == ""


def test_a_wrong_value_is_refused_when_the_stream_is_opened(live: Server) -> None:
    answer = live.http.post("/stream/request", json={"analyzers": ["counter"], "options": {"counter": {"step": []}}})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "analyzer counter, option step: expected a whole number, got []",
    )


def test_only_a_live_stream_can_be_changed(live: Server) -> None:
    stream_id = live.open()
    live.http.delete(f"/stream/{stream_id}")
    codes = [live.http.patch(f"/stream/{name}", json={}).json()["code"] for name in (stream_id, "nobody")]
    assert codes == ["session_ended", "not_found"]
    assert live.http.post("/stream/nobody/pause").status_code == 404


# --- plugins and their analyzers --------------------------------------------------------------------------------------


def test_plugins_say_how_they_are_and_in_which_worker(live: Server) -> None:
    items = {item["name"]: item for item in live.http.get("/api/plugins").json()["items"]}
    assert {name: item["state"] for name, item in items.items()} == {
        **dict.fromkeys((*BUILT_IN, "demo", "counter", "tally"), "loaded"),
        "broken": "failed",
        "twin": "failed",
    }
    folder = live.home / "data" / "plugins"
    assert items["twin"]["traceback"] == (
        f"two analyzers are called counter: plugin counter of {folder}/counter.py and plugin twin of"
        f" {folder}/twin.py; the first one is used"
    )
    assert "nothing_of_that_name" in items["broken"]["traceback"]
    assert items["counter"]["permissions"] == {"asked": [], "granted": []}
    worker = items["counter"]["worker"]
    assert (worker["name"], worker["state"], worker["restarts"]) == (f"{folder}/counter.py", "running", 0)
    assert worker["pid"] in [child.pid for child in live.children()]


def test_new_code_is_taken_over_while_streams_go_on(live: Server) -> None:
    stream_id = opened(live, "tally")
    seen(live, stream_id, "tally")
    file: Path = live.home / "data" / "plugins" / "tally.py"
    text = file.read_text()
    file.write_text(text.replace('"step"]\n        return', '"step"] * 100\n        return'))
    answer = live.http.post("/api/analyzers/tally/reload")
    assert (answer.status_code, answer.json()["name"], answer.json()["state"]) == (200, "tally", "ready")
    assert seen(live, stream_id, "tally") == 101  # what it remembers fits the new code
    file.write_text("def broken(")
    answer = live.http.post("/analyzers/tally/reload")
    assert (answer.status_code, answer.json()["state"]) == (200, "ready")  # the old code runs on
    assert "SyntaxError" in answer.json()["reason"]
    assert seen(live, stream_id, "tally") == 201
    file.write_text(text)
    assert live.http.post("/api/analyzers/tally/reload").json()["traceback"] is None


@pytest.mark.parametrize("root", ["/api", ""])
def test_an_unknown_analyzer_cannot_be_reloaded(live: Server, root: str) -> None:
    answer = live.http.post(f"{root}/analyzers/taly/reload")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_analyzer")
    assert "did you mean tally?" in answer.json()["detail"]
