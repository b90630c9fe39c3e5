"""100,000 malformed messages: WebSocket frames, JSON, JPEG, multipart, HTTP. What the gateway answers, and who notices.

Attackers send a seeded corpus (`bench.corpus`, its digest is printed) at a steady pace, each message followed until it
is answered or the line ends. Beside them a healthy session carries pictures from a publisher to a viewer, in phases by
turns quiet and attacked; `p99_attacked_over_quiet` compares what its pictures took. The rate of new sockets is not
limited here, so that every message arrives.

Promises: every status, close code and error code is one that docs/http.md and docs/protocol.md name; no message is left
without an answer or an end; no 5xx but a documented 503; no traceback in the log; the gateway and its workers live on
and hold nothing of it afterwards; the healthy session loses nothing. Exit code 1 if one is broken, 3 if the healthy
session's own clients were late.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench import picture
from bench.attackers import Attackers, Stretch, Tally, attackers
from bench.comparison import VOID
from bench.cores import all_cores
from bench.corpus import FAMILIES
from bench.documented import documented
from bench.healthy import Phase, Session
from bench.hostile import ask
from bench.leftovers import Traces, settled
from bench.servers import Server, gateway
from gateway.commands.table import table

SETTINGS = {
    "FRAMEGATE_ANALYSIS__DEFAULT": "[]",
    "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0",
    "FRAMEGATE_LIMITS__MAX_SESSIONS": "100000",
    "FRAMEGATE_LEASE_S": "5",
    "FRAMEGATE_GRACE_S": "5",
}
FPS = 30.0
JPEG_BYTES = 20_000
ROUNDS, QUIET_S = 10, 12.0
PATIENCE_S = 40.0
SHOWN = 12
STATIC = "/viewer/none"


@dataclass(slots=True)
class Found:
    """Of all rounds."""

    quiet: Phase = field(default_factory=Phase)
    attacked: Phase = field(default_factory=Phase)
    tally: Tally = field(default_factory=Tally)
    broken: list[str] = field(default_factory=list)
    log_lines: int = 0

    @property
    def ratio(self) -> float:
        return self.attacked.quantile(0.99) / self.quiet.quantile(0.99)


def main() -> int:
    chosen = _options()
    found = Found()
    with gateway(all_cores(), SETTINGS) as server, attackers(server.address, documented()) as crowd:
        before = _ready(server)
        path = server.post("/stream/request", {"analyzers": []})["websocket_url"]
        healthy = Session(server.address, path, picture.jpeg(JPEG_BYTES), FPS)
        healthy.run(1.0)
        try:
            for number in range(chosen.rounds):
                found.quiet.add(healthy.run(chosen.quiet))
                found.attacked.add(_attacked(crowd, healthy, _stretch(chosen, number), found.tally))
        except ConnectionError as error:
            found.broken.append(str(error))
        healthy.close()
        _check(server, before, found)
    return _report(found, chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=400.0, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="phases of each kind")
    parser.add_argument("--quiet", type=float, default=QUIET_S, help="seconds of a quiet phase")
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.count, chosen.rounds, chosen.quiet = chosen.count // 10, 4, 4.0
    chosen.count -= chosen.count % chosen.rounds
    if chosen.count <= 0:
        parser.error(f"--count must be at least {chosen.rounds}")
    return chosen


def _ready(server: Server) -> Traces:
    """Once the workers that decode and draw have come, and the thread that reads files, whom the attack would start."""
    server.wait_for_analyzers(["motion"])
    stream = server.post("/stream/request", {"analyzers": ["motion"]})
    healthy = Session(server.address, stream["websocket_url"], picture.jpeg(JPEG_BYTES), FPS)
    healthy.run(1.0)
    ask(server.address, "GET", f"{stream['snapshot_url']}?width=320")
    healthy.close()
    _file(server)
    return Traces.of(server)


def _file(server: Server) -> None:
    """Ask for a static file, which a thread reads: of a pool that keeps one, and others for 10 s."""
    ask(server.address, "GET", STATIC)


def _stretch(chosen: argparse.Namespace, number: int) -> Stretch:
    length = chosen.count // chosen.rounds
    return Stretch(chosen.seed, number * length, length, chosen.rate)


def _attacked(crowd: Attackers, healthy: Session, stretch: Stretch, tally: Tally) -> Phase:
    """The healthy session's pictures for as long as the attack takes."""
    phase = Phase()
    crowd.begin(stretch)
    while not crowd.done():
        phase.add(healthy.run(0.5))
    tally.add(crowd.end())
    return phase


def _check(server: Server, before: Traces, found: Found) -> None:
    lines = server.log.read_text(errors="replace").splitlines()
    found.log_lines = len(lines)
    found.broken += [f"{times} times {reason}" for reason, (times, _, _) in found.tally.wrong.items()]
    if tracebacks := sum("Traceback" in line for line in lines):
        found.broken.append(f"{tracebacks} tracebacks in the log, such as: {_last_words(lines)}")
    if lost := found.attacked.lost + found.quiet.lost:
        found.broken.append(f"{lost} pictures of the healthy session were lost")
    try:
        restarts = sum(worker["restarts"] for worker in server.get("/api/status")["workers"])
    except OSError as error:
        found.broken.append(f"the gateway answers no more: {error}")
        return
    if restarts:
        found.broken.append(f"workers were started again {restarts} times")
    if left := settled(server, before, PATIENCE_S, nudge=lambda: _file(server)):
        found.broken.append(f"left behind: {left}")


def _last_words(lines: list[str]) -> str:
    """Of the commonest traceback."""
    last = Counter(line.split("\\n")[-1][:160] for line in lines if "Traceback" in line)
    return last.most_common(1)[0][0]


def _report(found: Found, chosen: argparse.Namespace) -> int:
    tally = found.tally
    ends = sorted({end for _, end in tally.ends})
    rows = [[family, *(tally.ends[family, end] for end in ends)] for family in FAMILIES]
    print(f"malformed: {tally.sent} messages, seed {chosen.seed}, corpus {tally.digest:032x}")
    print(table(["family", *ends], rows))
    print(table(["answer", "times"], [list(each) for each in tally.answers.most_common()]))
    print(table(["phase", "pictures", "p50 ms", "p99 ms", "late"], [_row("quiet", found), _row("attacked", found)]))
    for reason, (times, index, start) in list(tally.wrong.items())[:SHOWN]:
        print(f"BROKEN: {times} times {reason}; first message {index}: {start}")
    for promise in found.broken[len(tally.wrong) :]:
        print(f"BROKEN: {promise}")
    void = found.quiet.void or found.attacked.void
    if void:
        print("VOID: the healthy session's own clients were late, so its latency says nothing of the server.")
    print(json.dumps(_line(found, chosen, void)))
    return 1 if found.broken else VOID if void else 0


def _row(name: str, found: Found) -> list[object]:
    phase: Phase = getattr(found, name)
    times = [f"{1e3 * phase.quantile(share):.2f}" for share in (0.5, 0.99)]
    return [name, len(phase.took_s), *times, phase.late]


def _line(found: Found, chosen: argparse.Namespace, void: bool) -> dict[str, Any]:
    tally = found.tally
    return {
        "bench": "malformed",
        "void": void,
        "messages": tally.sent,
        "seed": chosen.seed,
        "corpus": f"{tally.digest:032x}",
        "messages_per_s": round(tally.sent / max(tally.seconds, 1e-9), 1),
        "p99_attacked_over_quiet": round(found.ratio, 3),
        "p99_ms": {name: round(1e3 * getattr(found, name).quantile(0.99), 3) for name in ("quiet", "attacked")},
        "answers": dict(tally.answers.most_common()),
        "ends": dict(sum((Counter({end: times}) for (_, end), times in tally.ends.items()), Counter())),
        "log_lines": found.log_lines,
        "broken": found.broken,
    }


if __name__ == "__main__":
    raise SystemExit(main())
