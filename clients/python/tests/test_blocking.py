"""The client without `await`: the same calls, from plain scripts and threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from framegate_client import (
    AsyncClient,
    AsyncPublisher,
    AsyncWatch,
    Client,
    Frame,
    NotFound,
    Publisher,
    SecondPublisher,
    SessionEnded,
    StreamRequest,
    Watch,
)

from tests.pictures import colour_of, picture
from tests.server import Server, eventually


def test_a_script_publishes_and_another_one_watches(server: Server, blocking: Client) -> None:
    stream, shown = blocking.request(analyzers=[]), threading.Semaphore(1)
    reader: list[str] = []

    def pictures() -> Iterator[bytes]:
        reader.append(threading.current_thread().name)
        for colour in ("red", "green", "blue"):
            assert shown.acquire(timeout=20)
            yield picture(colour)

    def publish() -> None:
        with Client(server.url, trust_env=False) as other, other.publish(stream.stream_id) as camera:
            assert camera.run(pictures()) == 3
            assert (camera.sent, sum(camera.dropped.values()), camera.refusal in (None, "pace")) == (3, 0, True)

    with blocking.watch(stream, frames="binary") as viewer:
        camera = threading.Thread(target=publish, name="camera")
        camera.start()
        seen = []
        for message in viewer:
            if isinstance(message, Frame):
                seen.append((message.seq, colour_of(message.jpeg)))
                shown.release()
                if len(seen) == 3:
                    camera.join()
                    blocking.delete(stream)
    assert seen == [(0, "red"), (1, "green"), (2, "blue")]
    assert (viewer.state, viewer.reason) == ("ended", "deleted")
    assert reader == ["camera"], "a source is read where it was given"


def test_errors_are_the_same_as_with_await(blocking: Client) -> None:
    with pytest.raises(NotFound), blocking.watch("nowhere"):
        pass
    stream = blocking.request(analyzers=[])
    with blocking.publish(stream) as camera:
        assert camera.send(picture("red"), wait=True) == 0
        with pytest.raises(SecondPublisher), blocking.publish(stream) as second:
            second.send(picture("red"))
        blocking.delete(stream)
        eventually(lambda: camera.state == "ended")
        with pytest.raises(SessionEnded):
            camera.send(picture("red"))


def test_a_viewer_may_wait_for_some_time_only(blocking: Client) -> None:
    with blocking.watch(blocking.request(analyzers=[]), topics=[]) as viewer:
        while True:
            try:
                message = viewer.get(timeout_s=0.05)
            except TimeoutError:
                break
            assert message is not None
        assert viewer.relay("still there")


def test_every_call_of_the_gateway_works_without_await(blocking: Client) -> None:
    stream = blocking.request(name="door", analyzers=["motion"])
    assert blocking.post_frame(stream, picture("red")).accepted
    assert blocking.analyze(stream, picture("blue")).analyzers["motion"].state in ("ready", "loading")
    assert colour_of(blocking.snapshot(stream)) == "blue"
    assert blocking.update(stream, paused=True).paused
    assert blocking.status(stream).frames_in == 2
    assert [each.name for each in blocking.list()] == ["door"]
    assert "motion" in [each.name for each in blocking.analyzers()]
    assert blocking.reload("motion").name == "motion"
    assert {"motion"} <= {name for plugin in blocking.plugins() for name in plugin.analyzers}
    assert (blocking.health().status, blocking.ready(), blocking.system().status) == ("ok", True, "ok")
    assert blocking.url(stream.viewer_url).startswith("http://127.0.0.1")
    blocking.delete(stream)


def test_closing_ends_the_thread_and_what_was_forgotten_on_it(server: Server) -> None:
    before = set(threading.enumerate())
    client = Client(server.url, trust_env=False)
    camera = client.publish(StreamRequest(analyzers=[])).__enter__()
    states = [camera.state]
    client.close()
    client.close()
    assert [*states, camera.state] == ["open", "ended"]
    camera.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeError, match="closed"):
        client.health()


@pytest.mark.parametrize(
    ("plain", "asynchronous"), [(Client, AsyncClient), (Publisher, AsyncPublisher), (Watch, AsyncWatch)]
)
def test_both_ways_have_the_same_calls_with_the_same_parameters(plain: type, asynchronous: type) -> None:
    assert _calls(asynchronous) == _calls(plain)


def _calls(kind: type) -> set[tuple[str, str]]:
    found: dict[str, Any] = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    own = {name: each for name, each in found.items() if inspect.isfunction(each) and name != "get"}  # has a timeout
    return {(name, ", ".join(inspect.signature(each).parameters)) for name, each in own.items()}
