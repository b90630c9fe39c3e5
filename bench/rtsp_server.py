"""RTSP cameras for benches: GStreamer's server, run by the system's Python, which has the bindings.

Arguments: PORT COUNT FPS FILE.

/0, /1 ... send the pictures of the file again and again at this rate; each is its length as u32, big-endian, and its
H.264. It prints its port when it listens.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

AHEAD_BYTES = 2**16  # the pictures are there; how far ahead of their time they are asked for
LAUNCH = (
    f"( appsrc name=clip format=time max-bytes={AHEAD_BYTES}"
    " caps=video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1"
    " ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=0 )"
)


def main() -> None:
    port, count, fps, file = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    Gst.init(None)
    clip = pictures(file.read_bytes())
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for number in range(count):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(LAUNCH.format(fps=fps))
        factory.set_shared(True)
        factory.connect("media-configure", configured, clip, fps)
        server.get_mount_points().add_factory(f"/{number}", factory)
    server.attach(None)
    print(port, flush=True)
    GLib.MainLoop().run()


def pictures(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def configured(_factory: object, media: GstRtspServer.RTSPMedia, clip: list[bytes], fps: int) -> None:
    media.get_element().get_by_name("clip").connect("need-data", needed, clip, Gst.SECOND // fps, [0])


def needed(source: Gst.Element, _length: int, clip: list[bytes], step: int, sent: list[int]) -> None:
    picture = Gst.Buffer.new_wrapped(clip[sent[0] % len(clip)])
    picture.pts = picture.dts = sent[0] * step
    picture.duration = step
    sent[0] += 1
    source.emit("push-buffer", picture)


if __name__ == "__main__":
    main()
