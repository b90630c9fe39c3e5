"""The control plane of a real server: health, readiness, metrics, what there is to run, and how it answers mistakes."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.pictures import picture
from tests.server import BUILT_IN, Server, eventually

pytestmark = pytest.mark.e2e

TWINS = ["/health", "/ready", "/status", "/metrics", "/analyzers", "/plugins", "/models/status", "/openapi.json"]


@pytest.mark.parametrize("path", TWINS)
def test_every_control_route_stands_at_the_root_and_under_api_without_a_redirect(server: Server, path: str) -> None:
    root, api = server.http.get(path), server.http.get(f"/api{path}")
    assert (root.status_code, api.status_code) == (200, 200)
    assert root.headers["content-type"] == api.headers["content-type"]
    if path not in ("/metrics", "/status"):
        assert root.json() == api.json()


def test_health_and_readiness(server: Server) -> None:
    assert server.http.get("/health").json() == {"status": "ok", "database": "none"}
    assert server.http.get("/ready").json() == {"status": "ready"}


def test_status_names_streams_workers_and_analyzers(server: Server) -> None:
    status = server.http.get("/status").json()
    assert list(status) == [
        *("status", "version", "uptime_s", "streams", "streams_opened"),
        *("connections", "event_loop_lag_s", "overload", "media", "clips", "workers", "analyzers"),
    ]
    assert status["connections"] >= 1
    assert 0 <= status["event_loop_lag_s"] < 5
    assert status["overload"].pop("memory_limit_bytes") > status["overload"].pop("memory_bytes") >= 0
    assert status["overload"] == {"refuse_streams": False, "rest_analyzers": False, "disconnect_viewers": False}
    (worker,) = status["workers"]
    assert worker.pop("memory_bytes") > 10 * 2**20
    assert worker.pop("jobs") >= 0
    assert worker == {
        "name": "framegate",
        "state": "running",
        "reason": None,
        "restarts": 0,
        "recycled": 0,
        "memory_limit_bytes": 4096 * 2**20,
    }
    assert sorted(status["analyzers"]) == sorted(BUILT_IN)


def test_metrics_are_prometheus_text_and_never_carry_a_streams_id(server: Server) -> None:
    stream_id = server.open(name="front door")
    server.push(stream_id, picture("red"))
    text = server.http.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {
        "framegate_streams",
        "framegate_streams_opened",
        "framegate_viewers",
        "framegate_frames",
        "framegate_frames_analyzed",
        "framegate_frames_dropped",
        "framegate_pictures_encoded",
        "framegate_analyzer_calls",
        "framegate_analyzer_failures",
        "framegate_analyzer_latency_seconds",
        "framegate_analyzer_restarts",
        "framegate_analyzer_state",
        "framegate_worker_memory_bytes",
        "framegate_worker_memory_limit_bytes",
        "framegate_worker_recycles",
        "framegate_worker_restarts",
        "framegate_worker_up",
    } <= set(families)
    assert (stream_id in text, "front door" in text) == (False, False)
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    ours = {"state", "stage", "reason", "analyzer", "worker", "action", "close_code", "code", "endpoint"}
    assert labels <= {*ours, *_PYTHON_INFO}


def test_metrics_tell_how_workers_and_analyzers_are(server: Server) -> None:
    worker = {"worker": "framegate"}
    assert server.metric("framegate_worker_up", **worker) == 1
    assert server.metric("framegate_worker_memory_bytes", **worker) > 10 * 2**20
    assert server.metric("framegate_worker_memory_limit_bytes") == 4096 * 2**20
    states = ("idle", "loading", "ready", "open", "failed", "disabled")
    assert sum(server.metric("framegate_analyzer_state", analyzer="motion", state=state) for state in states) == 1


_PYTHON_INFO = ("implementation", "major", "minor", "patchlevel", "version")


def test_counters_do_not_fall_when_a_stream_ends(server: Server) -> None:
    stream_id = server.open(max_fps=1)
    for _ in range(3):
        server.http.post(f"/stream/{stream_id}/frame", content=picture("red"))
    names = [
        ("framegate_frames_total", {}),
        ("framegate_frames_dropped_total", {"stage": "ingest", "reason": "max_fps"}),
    ]
    before = [server.metric(name, **labels) for name, labels in names]
    server.http.delete(f"/stream/{stream_id}")
    assert [server.metric(name, **labels) for name, labels in names] == before
    assert min(before) >= 1


def test_analyzers_say_what_they_are_and_what_they_lack(server: Server) -> None:
    listed = server.http.get("/api/analyzers").json()
    assert (sorted(listed), listed["next"]) == (["items", "next"], None)
    by_name = {item["name"]: item for item in listed["items"]}
    motion, smoking = by_name["motion"], by_name["smoking"]
    assert (motion["distribution"], motion["needs"], motion["event_types"]) == ("framegate", [], ["motion"])
    assert motion["options"]["properties"]["sensitivity"]["default"] == 0.5
    assert (motion["state"], motion["traceback"]) != ("failed", None)
    assert (smoking["state"], smoking["needs"]) == ("failed", ["tracks"])
    assert "models pull" in by_name["objects"]["reason"]


def test_plugins_say_where_they_come_from(server: Server) -> None:
    items = server.http.get("/api/plugins").json()["items"]
    assert {
        item["name"]: (item["distribution"], item["state"], item["traceback"], item["analyzers"], item["connectors"])
        for item in items
    } == {
        **{name: ("framegate", "loaded", None, [name], []) for name in BUILT_IN},
        "demo": ("framegate", "loaded", None, [], ["demo"]),
    }


def test_a_model_is_loaded_when_somebody_asks_for_its_analyzer(server: Server) -> None:
    def state() -> str:
        items = server.http.get("/api/models/status").json()["items"]
        return next(str(item["state"]) for item in items if item["name"] == "motion")

    server.open(analyzers=["motion"])
    eventually(lambda: state() == "ready")


# --- how mistakes are answered ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/viewer/nothing.js", 404, "not_found"),
        ("GET", "/stream/nobody", 404, "not_found"),
        ("DELETE", "/stream/nobody", 404, "not_found"),
        ("GET", "/stream/video/nobody", 404, "not_found"),
        ("GET", "/stream/nobody/events", 404, "not_found"),
        ("PUT", "/stream/request", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("HEAD", "/nowhere", 404, ""),
    ],
)
def test_every_mistake_is_a_problem_document(server: Server, method: str, path: str, status: int, code: str) -> None:
    answer = server.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.headers["x-request-id"]
    if method == "HEAD":
        return
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]


def test_405_says_what_is_allowed(server: Server) -> None:
    assert server.http.put("/stream/request").headers["allow"] == "POST"


def test_every_request_has_an_id_of_its_own(server: Server) -> None:
    ids = {server.http.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5173", True),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_this_machine_may_call_and_foreign_ones_may_not(server: Server, origin: str, allowed: bool) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = server.http.options("/stream/request", headers=asked)
    called = server.http.get("/health", headers={"Origin": origin})
    expected = origin if allowed else None
    assert preflight.headers.get("access-control-allow-origin") == expected
    assert called.headers.get("access-control-allow-origin") == expected
    assert preflight.status_code == (200 if allowed else 400)
