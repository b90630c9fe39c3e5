"""An event's clip in players as they are: a page's `<video>` in Chromium, and VLC."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_clips import gateway, made
from tests.pictures import colour_at
from tests.server import Server
from tests.vlc import first_picture, vlc

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.slow]
__all__ = ["gateway"]  # the fixture

# Plays to the end, seeks back to the start, and tells what stands in the middle each time: [r, g, b].
WATCH = """async (url) => {
  const video = document.createElement("video"), canvas = document.createElement("canvas").getContext("2d");
  const heard = (name) => new Promise((done, failed) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener("error", () => failed(new Error(video.error.message)), { once: true });
  });
  const middle = () => {
    canvas.drawImage(video, 0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  video.muted = true;
  Object.assign(video, { src: url, preload: "auto" });
  await heard("loadeddata");
  const ended = heard("ended");
  await video.play();
  await ended;
  const last = middle(), seeked = heard("seeked");
  video.currentTime = 0;
  await seeked;
  return { first: middle(), last, size: [video.videoWidth, video.videoHeight], duration: video.duration };
}"""


def test_a_clip_plays_and_seeks_in_a_pages_video(page: Any, gateway: Server) -> None:
    _, _, url = made(gateway)
    page.goto(f"{gateway.url}/docs/protocol")  # a page of the same origin, so that its pixels may be read
    seen = page.evaluate(WATCH, url)
    assert [colour_at(seen[when][::-1]) for when in ("first", "last")] == ["green", "blue"]
    assert seen["size"] == [320, 240]
    assert 1.0 < seen["duration"] < 4.0


def test_vlc_plays_a_clip(gateway: Server) -> None:
    _, _, url = made(gateway)
    with vlc(gateway.url + url, every=1) as folder:
        assert colour_at(first_picture(folder).reshape(-1, 3).mean(axis=0).tolist()) == "green"
