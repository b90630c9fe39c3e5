"""Runner: one analyzer over all sessions. Whether it can be asked now, and how it fares.

A failing analyzer is left alone after a few failures in a row (circuit breaker), tried again after 1, 2, 4 ... s, and
used again after its first success. Everything here is told the time.
"""

from __future__ import annotations

from typing import Any, Literal

from gateway.engine.plugins import Manifest
from gateway.settings import Analysis

State = Literal["idle", "loading", "ready", "open", "failed"]


class Runner:
    """State and counters of one analyzer. `idle`: nobody asked for it yet, so its model is not loaded."""

    def __init__(self, manifest: Manifest, rules: Analysis) -> None:
        self.manifest = manifest
        self.rules = rules
        self.state: State = "idle"
        self.reason: str | None = None
        self.traceback: str | None = None
        self.calls = 0
        self.failures = 0
        self.mean_ms = 0.0
        self._warm = False
        self._row = 0
        self._opens = 0
        self._retry_at = 0.0
        if problem := manifest.failed or manifest.missing:
            self.state, self.reason = "failed", problem

    @property
    def name(self) -> str:
        return self.manifest.name

    def refusal(self, now: float) -> str | None:
        """Why it cannot be asked now; None when it can. An open breaker lets one call through when its wait is over."""
        if self.state == "open" and now >= self._retry_at:
            return None
        return None if self.state == "ready" else self.state

    def limit_s(self) -> float:
        """How long a call may take before its worker is given up; the first one after loading may warm up."""
        return self.rules.kill_s if self._warm else self.rules.first_call_s

    def prepared(self, state: State, reason: str | None = None, traceback: str | None = None) -> None:
        """Its model was loaded, or was not. One that failed too often before stays out of use until its next try."""
        self._warm = False
        if state == "ready" and self._row >= self.rules.breaker_failures:
            self.state = "open"
            return
        self.state = state
        if reason or not self._row:  # else the last failure stays the best explanation
            self.reason, self.traceback = reason, traceback

    def succeeded(self, ms: float, now: float) -> None:
        """A call came back; a slow one counts as a failure, unless it was the first after loading."""
        warm, self._warm = self._warm, True
        self.calls += 1
        self.mean_ms = 0.9 * self.mean_ms + 0.1 * ms if warm else ms
        if ms > self.rules.deadline_s * 1e3 and warm:
            self.failed(f"took {ms:.0f} ms, the deadline is {self.rules.deadline_s * 1e3:.0f} ms", now)
        else:
            self._row = self._opens = 0
            self.state, self.reason, self.traceback = "ready", None, None

    def failed(self, reason: str, now: float, traceback: str | None = None) -> None:
        """A call raised, was too slow or took its worker along."""
        self.failures += 1
        self._row += 1
        self.reason, self.traceback = reason, traceback or self.traceback
        if self.state == "open" or self._row >= self.rules.breaker_failures:
            self.state = "open"
            self._retry_at = now + min(self.rules.breaker_max_s, 2.0**self._opens)
            self._opens += 1

    def describe(self) -> dict[str, Any]:
        """For `GET /api/analyzers`."""
        about = self.manifest
        return {
            "name": about.name,
            "version": about.version,
            "distribution": about.distribution,
            "plugin": about.plugin,
            "title": about.title,
            "state": self.state,
            "reason": self.reason,
            "traceback": self.traceback,
            "needs": list(about.needs),
            "labels": list(about.labels),
            "event_types": list(about.event_types),
            "options": about.options,
            "calls": self.calls,
            "failures": self.failures,
            "mean_ms": round(self.mean_ms, 2),
        }
