"""Publishes by ffmpeg's whip muxer until its input ends: `python -m tests.interop.ffmpeg_whip URL OPTIONS` (JSON)."""

from __future__ import annotations

import json
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tests.interop.whip_clients import FPS, HEIGHT, WIDTH, drawn

RATE, SAMPLES = 48_000, 960


def main() -> None:
    url, options = sys.argv[1], json.loads(sys.argv[2])
    sound = options.pop("sound", "yes") == "yes"
    profile = options.pop("profile", "baseline")
    over = threading.Event()
    threading.Thread(target=read_on, args=(over,), daemon=True).start()
    began = time.monotonic()
    with av.open(url, "w", format="whip", options=options) as whip:
        preset = "ultrafast" if profile == "baseline" else "veryfast"
        settings = {"profile": profile, "preset": preset, "tune": "zerolatency", "g": str(FPS), "bf": "0"}
        video: Any = whip.add_stream("libx264", rate=FPS, options=settings)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: Any = whip.add_stream("libopus", rate=RATE, layout="stereo") if sound else None
        number = samples = 0
        while not over.wait(max(0.0, began + number / FPS - time.monotonic())):
            frame = av.VideoFrame.from_ndarray(drawn(number), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            whip.mux(video.encode(frame))
            number += 1
            while audio is not None and samples / RATE < number / FPS:
                whip.mux(audio.encode(silence(samples)))
                samples += SAMPLES
    print(json.dumps({"sent": number}), flush=True)


def read_on(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def silence(at: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, SAMPLES * 2), np.int16), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
    return frame


if __name__ == "__main__":
    main()
