"""Metrics for Prometheus, read off the hub when asked; labels come from closed sets, never from sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.engine.clips import LOSSES
from gateway.engine.runner import STATES
from gateway.engine.vitals import MIB

if TYPE_CHECKING:
    from gateway.engine.hub import Hub

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HubCollector(Collector):
    """Totals of ended sessions are kept by the hub, so counters never go backwards."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        yield from self._streams()
        yield from self._analyzers()
        yield from self._workers()
        yield from self._media()
        yield from self._clips()
        yield from self._edge()
        yield from self._health()

    def _streams(self) -> Iterator[Metric]:
        hub = self._hub
        states: Counter[str] = Counter(session.state for session in hub.sessions.values())
        live = GaugeMetricFamily("framegate_streams", "Streams by state.", labels=["state"])
        for state in ("waiting", "live", "stale"):
            live.add_metric([state], states[state])
        yield live
        opened = CounterMetricFamily("framegate_streams_opened", "Streams opened since the start.")
        opened.add_metric([], hub.sessions_opened)
        yield opened
        viewers = GaugeMetricFamily("framegate_viewers", "Viewers of all streams, over all transports.")
        viewers.add_metric([], sum(session.viewers for session in hub.sessions.values()))
        yield viewers
        totals = hub.totals()
        frames = CounterMetricFamily("framegate_frames", "Frames taken in.")
        frames.add_metric([], totals.frames)
        yield frames
        analyzed = CounterMetricFamily("framegate_frames_analyzed", "Frames that at least one analyzer saw.")
        analyzed.add_metric([], totals.analyzed)
        yield analyzed
        dropped = CounterMetricFamily(
            "framegate_frames_dropped",
            "Frames that went by, by stage of their way and reason.",
            labels=["stage", "reason"],
        )
        for (stage, reason), count in sorted(totals.dropped.items()):
            dropped.add_metric([stage, reason], count)
        yield dropped
        encodes = CounterMetricFamily("framegate_pictures_encoded", "Pictures drawn, scaled or transcoded.")
        encodes.add_metric([], hub.painter.encodes)
        yield encodes

    def _analyzers(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("framegate_analyzer_calls", "Calls that came back.", labels=["analyzer"])
        failures = CounterMetricFamily("framegate_analyzer_failures", "Calls that failed.", labels=["analyzer"])
        latency = GaugeMetricFamily(
            "framegate_analyzer_latency_seconds", "Mean duration of recent calls.", labels=["analyzer"]
        )
        state = GaugeMetricFamily("framegate_analyzer_state", "1 for the state it is in.", labels=["analyzer", "state"])
        restarts = CounterMetricFamily(
            "framegate_analyzer_restarts", "Lives it has cost its worker.", labels=["analyzer"]
        )
        for name, runner in sorted(self._hub.runners.items()):
            calls.add_metric([name], runner.calls)
            failures.add_metric([name], runner.failures)
            latency.add_metric([name], runner.mean_ms / 1e3)
            for known in STATES:
                state.add_metric([name, known], float(runner.state == known))
            restarts.add_metric([name], runner.restarts)
        yield from (calls, failures, latency, state, restarts)

    def _workers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("framegate_worker_up", "1 while it runs.", labels=["worker"])
        restarts = CounterMetricFamily("framegate_worker_restarts", "Workers started again.", labels=["worker"])
        recycles = CounterMetricFamily(
            "framegate_worker_recycles", "Workers started anew for the memory they held.", labels=["worker"]
        )
        memory = GaugeMetricFamily("framegate_worker_memory_bytes", "Memory its process holds.", labels=["worker"])
        silent = CounterMetricFamily(
            "framegate_worker_lines_left_out",
            "Lines of its standard error that were too many for the log.",
            labels=["worker"],
        )
        silent.add_metric(["picture"], self._hub.painter.lines_left_out)
        limit = GaugeMetricFamily("framegate_worker_memory_limit_bytes", "Memory a worker may hold; 0: no limit.")
        limit.add_metric([], self._hub.settings.analysis.memory_mb * MIB)
        for supervisor in self._hub.supervisors:
            label = [supervisor.name]
            up.add_metric(label, float(supervisor.state == "running"))
            restarts.add_metric(label, supervisor.restarts)
            recycles.add_metric(label, supervisor.recycled)
            memory.add_metric(label, supervisor.vitals.rss)
            silent.add_metric(label, supervisor.worker.lines_left_out)
        yield from (up, restarts, recycles, memory, limit, silent)

    def _media(self) -> Iterator[Metric]:
        hub = self._hub
        cameras = GaugeMetricFamily("framegate_cameras", "Cameras that are pulled, by state.", labels=["state"])
        states = Counter(session.camera.state for session in hub.sessions.values() if session.camera is not None)
        for state, count in sorted(states.items()):
            cameras.add_metric([state], count)
        children = GaugeMetricFamily("framegate_media_children", "Processes that read cameras.")
        children.add_metric([], len(hub.media.workers))
        memory = GaugeMetricFamily("framegate_media_memory_bytes", "Memory they hold.")
        memory.add_metric([], sum(worker.rss for worker in hub.media.workers))
        restarts = CounterMetricFamily("framegate_media_restarts", "Of them, ended by a crash or a hang.")
        restarts.add_metric([], hub.media.restarts)
        recycles = CounterMetricFamily("framegate_media_recycles", "Of them, replaced for the memory they held.")
        recycles.add_metric([], hub.media.recycled)
        peers = GaugeMetricFamily("framegate_webrtc_peers", "WebRTC connections.")
        peers.add_metric([], hub.media.peers)
        malformed = CounterMetricFamily("framegate_webrtc_malformed", "Datagrams to them that meant nothing.")
        malformed.add_metric([], hub.media.malformed)
        yield from (cameras, children, memory, restarts, recycles, peers, malformed)

    def _clips(self) -> Iterator[Metric]:
        clips = self._hub.clips
        made = CounterMetricFamily("framegate_clips_made", "Clips of events that were made.")
        made.add_metric([], clips.made)
        lost = CounterMetricFamily(
            "framegate_clips_lost", "What events did not get of pictures and clips, by reason.", labels=["reason"]
        )
        for reason in LOSSES:
            lost.add_metric([reason], clips.lost[reason])
        held = GaugeMetricFamily("framegate_clips_memory_bytes", "What is kept in memory for clips.")
        held.add_metric([], clips.held)
        disk = GaugeMetricFamily("framegate_clips_disk_bytes", "What pictures and clips of events take on disk.")
        disk.add_metric([], clips.archive.bytes)
        failures = CounterMetricFamily("framegate_clips_disk_failures", "Files that could not be written or removed.")
        failures.add_metric([], clips.archive.failures)
        yield from (made, lost, held, disk, failures)

    def _edge(self) -> Iterator[Metric]:
        admission = self._hub.admission
        connections = GaugeMetricFamily("framegate_connections", "Connections that are open.")
        connections.add_metric([], admission.connections)
        yield connections
        rejected = CounterMetricFamily("framegate_rejected", "What was turned away, by code.", labels=["code"])
        for code, count in sorted(admission.refusals.counts.items()):
            rejected.add_metric([code], count)
        yield rejected
        closed = CounterMetricFamily("framegate_websockets_closed", "Ended, by close code.", labels=["close_code"])
        for number, count in sorted(admission.refusals.closed.items()):
            closed.add_metric([number], count)
        yield closed

    def _health(self) -> Iterator[Metric]:
        overload, pulse = self._hub.overload, self._hub.pulse
        lag = GaugeMetricFamily("framegate_event_loop_lag_seconds", "Worst lateness of a timer in the last 10 s.")
        lag.add_metric([], pulse.lag_s)
        hangs = CounterMetricFamily("framegate_event_loop_hangs", "Times the event loop stood still.")
        hangs.add_metric([], pulse.hangs)
        tasks = GaugeMetricFamily("framegate_tasks", "Tasks of the gateway's event loop.")
        tasks.add_metric([], pulse.tasks)
        used = GaugeMetricFamily("framegate_memory_bytes", "Memory of the gateway and its workers.")
        used.add_metric([], overload.used)
        limit = GaugeMetricFamily("framegate_memory_limit_bytes", "Memory there is for them.")
        limit.add_metric([], overload.limit)
        active = GaugeMetricFamily(
            "framegate_overload_action_active", "1 while it is in effect, since memory is short.", labels=["action"]
        )
        for action, on in overload.active.items():
            active.add_metric([action], float(on))
        yield from (lag, hangs, tasks, used, limit, active)


def exposition(hub: Hub) -> tuple[bytes, str]:
    """The text of `/metrics` and its media type."""
    registry = CollectorRegistry()
    registry.register(HubCollector(hub))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry), MEDIA_TYPE
