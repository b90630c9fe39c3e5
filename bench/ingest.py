"""Pictures in: frames a second over eight sockets, counted in the sessions, against an endpoint that decodes and drops.

`text` sends data URLs, as browsers do; `binary` sends the JPEG itself.
"""

from __future__ import annotations

from pybase64 import b64encode

from bench import picture
from bench.comparison import Case, Measure, Window, measure, options, report, window
from bench.cores import Cores, split
from bench.load import flood, generating
from bench.servers import Server, bare, gateway
from bench.websocket import BINARY, TEXT, packed

SOCKETS = 8
SETTINGS = {"FRAMEGATE_LIMITS__MAX_FPS": "1e9"}


def main() -> int:
    chosen = options(__doc__, seconds=3.0, rounds=5)
    server_cores, load_cores = split()
    jpeg = picture.jpeg()
    messages = {
        "text": packed(TEXT, b"data:image/jpeg;base64," + b64encode(jpeg)),
        "binary": packed(BINARY, jpeg),
    }
    print(f"ingest: {len(jpeg)} B JPEG over {SOCKETS} sockets, {chosen.rounds} windows of {chosen.seconds} s a side")
    with gateway(server_cores, SETTINGS) as ours, bare("ingest", server_cores) as plain:
        cases = [
            Case(name, _into_sessions(ours, message, load_cores), _into_nothing(plain, message, load_cores))
            for name, message in messages.items()
        ]
        measure(cases, chosen)
    return report("ingest", cases, unit="frames/s", more={"jpeg_bytes": len(jpeg), "sockets": SOCKETS})


def _into_sessions(server: Server, message: bytes, cores: Cores) -> Measure:
    def run(seconds: float) -> Window:
        wish = {"analyzers": [], "grace_s": 0}
        streams = {
            stream["stream_id"]: stream["websocket_url"]
            for stream in (server.post("/stream/request", wish) for _ in range(SOCKETS))
        }

        def frames() -> float:
            return float(sum(s["frames_in"] for s in server.get("/stream")["items"] if s["stream_id"] in streams))

        with generating(cores, flood, server.address, list(streams.values()), message) as load:
            return window(frames, server.cpu_s, [load.cpu_s], seconds)

    return run


def _into_nothing(server: Server, message: bytes, cores: Cores) -> Measure:
    def run(seconds: float) -> Window:
        with generating(cores, flood, server.address, ["/"] * SOCKETS, message) as load:
            return window(lambda: float(server.get("/")["frames"]), server.cpu_s, [load.cpu_s], seconds)

    return run


if __name__ == "__main__":
    raise SystemExit(main())
