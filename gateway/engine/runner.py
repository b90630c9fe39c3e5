"""Runner: one analyzer over all sessions. Whether it can be asked now, and how it fares.

A failing analyzer is left alone after a few failures in a row (circuit breaker), tried again after 1, 2, 4 ... s, and
used again after its first success. One that costs its worker too many lives is disabled. Everything here is told the
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from gateway.engine.plugins import Manifest
from gateway.engine.reports import MAX_BATCH
from gateway.settings import Analysis

State = Literal["idle", "loading", "ready", "open", "failed", "disabled"]
STATES: tuple[State, ...] = get_args(State)

LACKING_S = 3.0  # weights that were not there are looked for again, at most so often


class Tally:
    """How often something went wrong lately: too often is more than `most` times within `within_s`, or in a row."""

    def __init__(self, most: int, within_s: float) -> None:
        self.total = 0
        self.row = 0
        self._most = most
        self._within_s = within_s
        self._moments: list[float] = []

    def count(self, now: float) -> str | None:
        """Once more; in words how often, if that is too often."""
        self.total += 1
        self.row += 1
        self._moments = [moment for moment in self._moments if now - moment <= self._within_s] + [now]
        if len(self._moments) > self._most:
            return f"{len(self._moments)} times in {self._within_s:.0f} s"
        return f"{self.row} times in a row" if self.row > self._most else None

    def well(self) -> None:
        """It went right, so a row begins anew; what is counted by time is not forgotten."""
        self.row = 0

    def forget(self) -> None:
        """Begin anew, but for the total."""
        self.row, self._moments = 0, []


class Runner:
    """State and counters of one analyzer. `idle`: nobody asked for it yet, so its model is not loaded.

    `on_change` is called after every change of state. `manifest` changes when its worker comes back with other code.
    """

    def __init__(self, manifest: Manifest, rules: Analysis) -> None:
        self.manifest = manifest
        self.rules = rules
        self.reason: str | None = None
        self.traceback: str | None = None
        self.rests = False  # while memory is short
        self.batch = 0
        self.device: str | None = None
        self.weights: Sequence[Mapping[str, Any]] = ()  # the files of its model, as `gateway.weights.examine` told
        self.quarantine: str | None = None
        self.on_change: Callable[[Runner], None] | None = None
        self.calls = 0
        self.failures = 0
        self.mean_ms = 0.0
        self._state: State = "idle"
        self._deaths = Tally(rules.restarts, rules.restarts_s)
        self._died_loading = False
        self._lacking = False
        self._looked_at = float("-inf")
        self._begin_anew()
        if problem := manifest.failed or manifest.missing:
            self.prepared("failed", problem)

    def _begin_anew(self) -> None:
        self._warm = False
        self._row = 0
        self._opens = 0
        self._retry_at = 0.0

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def state(self) -> State:
        return self._state

    @property
    def restarts(self) -> int:
        """Lives it has cost its worker."""
        return self._deaths.total

    @property
    def batch_size(self) -> int:
        """Frames in one call: what the operator set, else what it wishes; 1 for one that takes no batches."""
        return 1 if self.batch == 0 else min(self.rules.batch_size or self.batch, MAX_BATCH)

    def refusal(self, now: float) -> str | None:
        """Why it cannot be asked now; None when it can. An open breaker lets one call through when its wait is over."""
        if self.state == "open" and now >= self._retry_at:
            return None
        return None if self.state == "ready" else self.state

    def limit_s(self) -> float:
        """How long a call may take before its worker is given up; the first one after loading may warm up."""
        return self.rules.kill_s if self._warm else self.rules.first_call_s

    # --- its model ---------------------------------------------------------------------------------------------------

    def prepared(
        self,
        state: State,
        reason: str | None = None,
        traceback: str | None = None,
        *,
        batch: int = 0,
        device: str | None = None,
        missing: bool = False,
        weights: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Its model was loaded, or was not. One that failed too often before stays out of use until its next try.

        `missing`: only its weights were not there. Nothing is said of one that is disabled.
        """
        if self.state == "disabled":
            return
        self._warm = False
        if state != "loading":
            self.weights = weights
        self._lacking = state == "failed" and (missing or reason == self.manifest.missing)
        if state == "ready":
            self.batch, self.device = batch, device
            self.manifest = replace(self.manifest, missing=None)  # it has come
            if self._died_loading:
                self._deaths.well()
            if self._row >= self.rules.breaker_failures:
                state = "open"
        if not reason and (self._row or self._deaths.row):  # the last failure stays the best explanation
            reason, traceback = self.reason, self.traceback
        self.traceback = traceback
        self._become(state, reason)

    def may_be_loaded(self, now: float) -> bool:
        """Whether somebody who asks for it now makes its model be loaded; weights that lacked may have come."""
        if self.state == "failed" and self._lacking and now - self._looked_at >= LACKING_S:
            self._looked_at = now
            return True
        return self.state == "idle"

    def note(self, reason: str, traceback: str | None) -> None:
        """Something to know about it that changes nothing, until it next succeeds."""
        self.reason, self.traceback = reason, traceback

    def reset(self, state: State = "idle") -> None:
        """Its code was loaded anew: what was held against it is forgotten. Totals stay, they only ever grow."""
        self._begin_anew()
        self._deaths.forget()
        self._lacking = False
        self.mean_ms, self.traceback = 0.0, None
        self._become(state, None)

    # --- its calls ---------------------------------------------------------------------------------------------------

    def succeeded(self, ms: float, now: float) -> None:
        """A call came back; a slow one counts as a failure, unless it was the first after loading."""
        warm, self._warm = self._warm, True
        self.calls += 1
        self.mean_ms = 0.9 * self.mean_ms + 0.1 * ms if warm else ms
        self._deaths.well()
        if ms > self.rules.deadline_s * 1e3 and warm:
            self.failed(f"took {ms:.0f} ms, the deadline is {self.rules.deadline_s * 1e3:.0f} ms", now)
        else:
            self._row = self._opens = 0
            self.traceback = None
            self._become("ready", None)

    def failed(self, reason: str, now: float, traceback: str | None = None) -> None:
        """A call raised, was too slow or took its worker along."""
        self.failures += 1
        self._row += 1
        self.traceback = traceback or self.traceback
        opens = self.state == "open" or self._row >= self.rules.breaker_failures
        if opens:
            self._retry_at = now + min(self.rules.breaker_max_s, 2.0**self._opens)
            self._opens += 1
        self._become("open" if opens else self.state, reason)

    def blamed(self, reason: str, now: float, *, loading: bool = False) -> None:
        """It cost its worker its life, in a call or while it was loaded. Once too often, and it is disabled."""
        self._died_loading = loading
        often = self._deaths.count(now)
        if often:
            self.disable(f"cost its worker its life {often}; the last time: {reason}")
        else:
            self._become(self.state, reason)

    def disable(self, reason: str) -> None:
        """It is not asked again until it is reloaded."""
        self._become("disabled", reason)

    def _become(self, state: State, reason: str | None) -> None:
        before, self._state, self.reason = self._state, state, reason
        if state != before and self.on_change:
            self.on_change(self)

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
            "wants": list(about.wants),
            "labels": list(about.labels),
            "event_types": list(about.event_types),
            "options": about.options,
            "permissions": list(about.permissions),
            "api": about.api,
            "device": self.device,
            "batch": self.batch_size,
            "calls": self.calls,
            "failures": self.failures,
            "restarts": self.restarts,
            "quarantine": self.quarantine,
            "mean_ms": round(self.mean_ms, 2),
        }
