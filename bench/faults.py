"""Twenty plugins of strangers, each with its process, and one of them does everything a plugin must not do.

It raises, hangs, spins in C with the GIL held, leaks past the memory limit, segfaults, exits and aborts, each second
call. Frames that the other 19 analyse beside it are set against those they analyse alone, in turns, at the same load:
streams whose sessions ask for 19 analyzers and streams whose sessions ask for all 20. The pace is chosen by measuring,
so that the 19 alone need at most half of the machine. Restart limit, breaker and deadlines are set so that a fault
takes half a second instead of minutes; a second gateway shows what becomes of such a plugin under the default limit.

Exit code 1 if a promise is broken; 3 if the load generator was late or the 19 could not even alone do what they do in a
free machine, and then only what does not depend on time is looked at.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from bench import picture
from bench.comparison import VOID
from bench.cores import all_cores
from bench.crowd import Crowd, Task, analyzed, crowd
from bench.foreign import FAULTS, bad_plugin, light_plugins
from bench.leftovers import Traces, settled
from bench.observer import Observer, observing, wait_for
from bench.servers import Server, gateway
from gateway.commands.table import table

OTHERS, STREAMS = 19, 3
MOST_FPS, MOST_SHARE = 10.0, 0.4  # of a stream; of the machine, for the 19 alone, with room for what else it does
LEAST_RATIO = 0.99
QUICK = 0.1
KILL_S = 0.8
LIGHT = [f"light_{number}" for number in range(OTHERS)]
FATAL = set(FAULTS) - {"raise"}  # what costs the process its life

SETTINGS = {
    "FRAMEGATE_ANALYSIS__RESTARTS": "1000000",
    "FRAMEGATE_ANALYSIS__RESTART_PAUSE_S": "0.05",
    "FRAMEGATE_ANALYSIS__BREAKER_FAILURES": "1",
    "FRAMEGATE_ANALYSIS__BREAKER_MAX_S": "0.1",
    "FRAMEGATE_ANALYSIS__DEADLINE_S": "5",
    "FRAMEGATE_ANALYSIS__KILL_S": str(KILL_S),
    "FRAMEGATE_ANALYSIS__MEMORY_MB": "250",
}


@dataclass(frozen=True, slots=True)
class Phase:
    """The 19 for a while: frames there were for them, how many they analysed, how old results were (ms), cores used."""

    offered: int
    analyzed: int
    ages: list[float]
    cores: float
    late: bool

    @property
    def share(self) -> float:
        return self.analyzed / self.offered


@dataclass(slots=True)
class Found:
    """All phases, and what was looked at besides. `broken`: the promises that were not kept."""

    fps: float = 0.0
    alone: list[Phase] = field(default_factory=list)
    beside: list[Phase] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    more: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def promise(self, kept: bool, text: str, *, timed: bool = False) -> None:
        """`timed` ones say nothing on a machine that is busy with something else."""
        if not kept and not (timed and self.void):
            self.broken.append(text)

    @property
    def void(self) -> bool:
        """Whether the machine had other work, or the load generator was late."""
        late = any(phase.late for phase in (*self.alone, *self.beside))
        return late or _share(self.alone) < LEAST_RATIO

    @property
    def ratio(self) -> float:
        """Frames the 19 analysed of those there were, beside the bad one over alone."""
        return _share(self.beside) / _share(self.alone)


def _share(phases: Sequence[Phase]) -> float:
    return sum(phase.analyzed for phase in phases) / sum(phase.offered for phase in phases)


def main() -> int:
    chosen = _options()
    found = Found()
    with tempfile.TemporaryDirectory(prefix="framegate-bench-plugins-") as folder:
        plugins = [*light_plugins(Path(folder), OTHERS), bad_plugin(Path(folder))]
        settings = {**SETTINGS, "FRAMEGATE_PLUGINS": json.dumps([str(file) for file in plugins])}
        with gateway(all_cores(), settings) as server, crowd(server.address) as people:
            _misbehave(Bench(server, people), found, chosen)
        _default_limit(plugins[-2:], found)
    return _report(found, chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000, help="at least so many")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a phase beside the bad one")
    parser.add_argument("--alone", type=float, default=8.0, help="length of a phase without it, in s")
    parser.add_argument("--most", type=float, default=3600.0, help="s after which no phase begins any more")
    parser.add_argument("--quick", action="store_true", help="a tenth of the faults, or as many as a minute has")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.faults, chosen.seconds, chosen.alone, chosen.most = round(chosen.faults * QUICK), 12.0, 4.0, 45.0
    return chosen


class Bench:
    """The gateway with its twenty plugins, and the clients."""

    def __init__(self, server: Server, people: Crowd) -> None:
        self.server = server
        self._people = people
        self._jpeg = picture.jpeg()

    def open(self, analyzers: Sequence[str]) -> dict[str, Any]:
        stream: dict[str, Any] = self.server.post("/stream/request", {"analyzers": list(analyzers)})
        return stream

    def phase(self, analyzers: Sequence[str], fps: float, seconds: float) -> Phase:
        """Streams with these analyzers, for a while; what became of the light ones' frames."""
        streams = [self.open(analyzers) for _ in range(STREAMS)]
        paths = tuple(stream["websocket_url"] for stream in streams)
        began, used = time.perf_counter(), self.server.whole_cpu_s()
        seen = self._people.run(Task(paths, self._jpeg, fps, max(1, round(fps * seconds))))
        took = time.perf_counter() - began
        counted = sum(analyzed(self._end(stream), but=("bad",)) for stream in streams)
        cores = (self.server.whole_cpu_s() - used) / took
        ages = [age for name in LIGHT for age in seen.all_ages(name)]
        return Phase(seen.sent * OTHERS, counted, ages, cores, seen.void)

    def _end(self, stream: dict[str, Any]) -> Any:
        about = self.server.get(f"/stream/{stream['stream_id']}")
        self.server.delete(f"/stream/{stream['stream_id']}")
        return about

    def states(self, names: Iterable[str]) -> set[str]:
        return {self.analyzer(name)["state"] for name in names}

    def analyzer(self, name: str) -> Any:
        return next(item for item in self.server.get("/api/analyzers")["items"] if item["name"] == name)

    def restarts(self, bad: bool) -> int:
        """New processes of the bad one's worker, or of all others: after a death, or after it had grown too large."""
        workers = self.server.get("/status")["workers"]
        mine = [worker for worker in workers if worker["name"].endswith("/bad.py") is bad]
        return sum(worker["restarts"] + worker["recycled"] for worker in mine)

    def faults(self) -> Counter[str]:
        """What the bad one says that it did."""
        return Counter(re.findall(r"\bfault (\w+)", self.server.log.read_text(errors="replace")))


# --- with the limit raised --------------------------------------------------------------------------------------------


def _misbehave(bench: Bench, found: Found, chosen: argparse.Namespace) -> None:
    found.fps = _pace(bench)
    watched = bench.open(["bad"])
    with observing(bench.server.address, watched["websocket_url"], "bad") as observer:
        bench.phase([*LIGHT, "bad"], found.fps, min(5.0, chosen.seconds))  # every pool of threads has its threads
        _at_rest(bench)
        before, uptime = Traces.of(bench.server), bench.server.get("/status")["uptime_s"]
        created, rss = _process(bench)
        end = time.monotonic() + chosen.most
        while bench.faults().total() < chosen.faults and time.monotonic() < end:
            found.alone.append(bench.phase(LIGHT, found.fps, chosen.alone))
            found.beside.append(bench.phase([*LIGHT, "bad"], found.fps, chosen.seconds))
            _at_rest(bench)
        left = settled(bench.server, before, 10.0)
        found.promise(not left, f"left behind: {left}")
        found.promise(_process(bench)[0] == created, "the gateway was restarted")
        found.promise(bench.server.get("/status")["uptime_s"] > uptime, "the gateway's uptime fell")
        found.faults = bench.faults()
        enough = chosen.quick or found.faults.total() >= chosen.faults
        found.promise(enough, f"only {found.faults.total()} faults in {chosen.most:.0f} s", timed=True)
        found.more |= {"gateway_rss_mb": {"before": rss, "after": _process(bench)[1]}}
        _account(bench, observer, found)


def _pace(bench: Bench) -> float:
    """Frames/s of a stream at which the 19 alone need no more of the machine than they may."""
    bench.server.wait_for_analyzers([*LIGHT, "bad"])
    bench.phase(LIGHT, 2.0, 1.0)
    wait_for("the light ones to be ready", lambda: bench.states(LIGHT) == {"ready"}, 60.0)
    bench.phase(LIGHT, MOST_FPS / 2, 1.0)
    measured = bench.phase(LIGHT, MOST_FPS / 2, 3.0)
    share = measured.cores / len(all_cores())
    return round(min(MOST_FPS, MOST_FPS / 2 * MOST_SHARE / share), 1)


def _at_rest(bench: Bench) -> None:
    """The bad one's last fault is dealt with, and its process is up again."""
    time.sleep(KILL_S + 0.5)  # it may hang, which nobody can know before
    wait_for("the bad one to come back", lambda: bench.states(["bad"]) <= {"ready", "open"}, 20.0)


def _process(bench: Bench) -> tuple[float, int]:
    """When the gateway's process was created, and the MiB it holds."""
    process = psutil.Process(bench.server.pid)
    return process.create_time(), process.memory_info().rss // 2**20


def _account(bench: Bench, observer: Observer, found: Found) -> None:
    """Every fault must have been seen, and must have cost what it may cost."""
    faults, fatal = found.faults.total(), sum(found.faults[fault] for fault in FATAL)
    told, failures = observer.departures(), bench.analyzer("bad")["failures"]
    restarts, others = bench.restarts(bad=True), bench.restarts(bad=False)
    found.more |= {"told": told, "failures": failures, "restarts": restarts, "states": dict(Counter(observer.states))}
    found.promise(told >= faults, f"{faults} faults, but a viewer was told {told} times that bad is not ready")
    found.promise(
        faults - found.faults["leak"] <= failures <= faults,  # to leak is none, unless it takes too long
        f"{failures} failures in /api/analyzers, {faults - found.faults['leak']} happened (and leaks)",
    )
    found.promise(restarts == fatal, f"{restarts} restarts of the bad worker, {fatal} faults that end a process")
    found.promise(others == 0, f"{others} restarts of other workers", timed=True)
    missing = [fault for fault in FAULTS if not found.faults[fault]]
    found.promise(not missing or faults < 50, f"faults that never happened: {missing}")
    lost = sum(bench.analyzer(name)["failures"] for name in LIGHT)
    found.promise(lost == 0, f"{lost} failures of the 19", timed=True)
    found.promise(found.ratio >= LEAST_RATIO, f"ratio {found.ratio:.4f}, wanted {LEAST_RATIO}", timed=True)
    half = len(all_cores()) / 2
    found.promise(_alone_cores(found) <= half, "the 19 alone needed more than half of the machine", timed=True)


def _alone_cores(found: Found) -> float:
    return sum(phase.cores for phase in found.alone) / len(found.alone)


# --- with the default limit -------------------------------------------------------------------------------------------


def _default_limit(plugins: Sequence[Path], found: Found) -> None:
    """A plugin that exits at every second call, and one light one beside it."""
    settings = {
        "FRAMEGATE_PLUGINS": json.dumps([str(file) for file in plugins]),
        "FRAMEGATE_ANALYZERS": '{"bad": {"faults": "exit"}}',
    }
    light = plugins[0].stem
    with gateway(all_cores(), settings) as server, crowd(server.address) as people:
        bench = Bench(server, people)
        server.wait_for_analyzers([light, "bad"])
        stream = bench.open([light, "bad"])
        with observing(server.address, stream["websocket_url"], "bad") as observer:
            people.begin(Task((stream["websocket_url"],), picture.jpeg(), 5.0, 5 * 45))
            began = time.monotonic()
            disabled = wait_for("bad to be disabled", lambda: bench.states(["bad"]) == {"disabled"}, 40.0)
            took = time.monotonic() - began
            before = analyzed(server.get(f"/stream/{stream['stream_id']}"), but=("bad",))
            time.sleep(2.0)
            after = analyzed(server.get(f"/stream/{stream['stream_id']}"), but=("bad",))
        new = [
            event for event in observer.events if (event["event_type"], event["phase"]) == ("analyzer_failed", "new")
        ]
        found.promise(disabled, f"default limit: bad is {bench.analyzer('bad')['state']}, not disabled")
        found.promise(len(new) == 1, f"default limit: {len(new)} analyzer_failed events, not 1")
        found.promise(
            observer.states[-1] == "disabled", f"default limit: the viewer's last word: {observer.states[-1]}"
        )
        found.promise(after > before, "default limit: the light one stood still")
        found.more["default_limit"] = {
            "faults": bench.faults().total(),
            "disabled_s": round(took, 1),
            "events": len(new),
        }


# --- what came of it --------------------------------------------------------------------------------------------------


def _report(found: Found, chosen: argparse.Namespace) -> int:
    rows = [_row("alone", found.alone), _row("beside", found.beside)]
    print(table(["the 19", "frames", "analysed", "share", "min", "max", "p50 ms", "p99 ms", "cores"], rows))
    print(f"\nfaults: {dict(found.faults)}; {found.fps} frames/s of {STREAMS} streams to {OTHERS} analyzers")
    print(f"ratio {found.ratio:.4f} (wanted {LEAST_RATIO})")
    for text in found.broken:
        print(f"BROKEN: {text}")
    if found.void:
        print("VOID: the machine had other work, so the ratio says nothing.")
    line = {
        "bench": "faults",
        "void": found.void,
        "faults": dict(found.faults),
        "others_ratio": round(found.ratio, 4),
        "p99_ratio": round(_p99(found.beside) / _p99(found.alone), 3),
        "alone_cores": round(_alone_cores(found), 2),
        "fps": found.fps,
        **found.more,
        "broken": found.broken,
    }
    print(json.dumps(line))
    return 1 if found.broken else VOID if found.void else 0


def _row(side: str, phases: Sequence[Phase]) -> list[str]:
    shares = [phase.share for phase in phases]
    ages = sorted(age for phase in phases for age in phase.ages)
    return [
        side,
        str(sum(phase.offered for phase in phases)),
        str(sum(phase.analyzed for phase in phases)),
        *(f"{share:.4f}" for share in (_share(phases), min(shares), max(shares))),
        f"{ages[len(ages) // 2]:.1f}",
        f"{_p99(phases):.1f}",
        f"{sum(phase.cores for phase in phases) / len(phases):.2f}",
    ]


def _p99(phases: Sequence[Phase]) -> float:
    return quantiles([age for phase in phases for age in phase.ages], n=100)[98]


if __name__ == "__main__":
    raise SystemExit(main())
