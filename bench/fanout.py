"""Pictures out: MJPEG pictures a second that reach 1, 50 and 200 viewers, against a bare fan-out of the same bytes.

One WebSocket publishes to either side, for 50 and 200 viewers at a rate that asks for more than the kernel can hand on;
who cannot keep up loses pictures, which is what both sides are made for. A single viewer cannot be the limit: his
picture costs less than taking it in. So he gets 10,000 a second, two thirds of what one publishing socket can send, and
what that costs stands under CPU.
"""

from __future__ import annotations

from bench import picture
from bench.comparison import Case, Measure, Window, measure, options, report, window
from bench.cores import Cores, split
from bench.load import Taken, generating, publish, watch
from bench.servers import Server, bare, gateway
from bench.websocket import BINARY, packed

FPS = {1: 10_000, 50: 2_400, 200: 600}  # published, by number of viewers
SETTINGS = {"FRAMEGATE_LIMITS__MAX_FPS": "1e9"}


def main() -> int:
    chosen = options(__doc__, seconds=2.5, rounds=4)
    server_cores, load_cores = split()
    jpeg = picture.jpeg()
    message = packed(BINARY, jpeg)
    print(f"fanout: {len(jpeg)} B JPEG, {chosen.rounds} windows of {chosen.seconds} s a side")
    with gateway(server_cores, SETTINGS) as ours, bare("fanout", server_cores) as plain:
        cases = [
            Case(
                f"mjpeg_{viewers}",
                _of_a_session(ours, message, viewers, load_cores),
                _of_the_fan_out(plain, message, viewers, load_cores),
            )
            for viewers in FPS
        ]
        measure(cases, chosen)
    return report("fanout", cases, unit="pictures/s", more={"jpeg_bytes": len(jpeg)})


def _of_a_session(server: Server, message: bytes, viewers: int, cores: Cores) -> Measure:
    def run(seconds: float) -> Window:
        stream = server.post("/stream/request", {"analyzers": [], "grace_s": 0})
        return _watched(server, message, stream["websocket_url"], stream["video_url"], viewers, seconds, cores)

    return run


def _of_the_fan_out(server: Server, message: bytes, viewers: int, cores: Cores) -> Measure:
    def run(seconds: float) -> Window:
        return _watched(server, message, "/", "/", viewers, seconds, cores)

    return run


def _watched(
    server: Server, message: bytes, socket: str, video: str, viewers: int, seconds: float, cores: Cores
) -> Window:
    taken = Taken()
    with (
        generating(cores, publish, server.address, socket, message, FPS[viewers]) as publisher,
        generating(cores, watch, server.address, video, viewers, taken) as readers,
    ):
        return window(taken.pictures, server.cpu_s, [publisher.cpu_s, readers.cpu_s], seconds)


if __name__ == "__main__":
    raise SystemExit(main())
