"""A stream's thread says when it hangs, and a child in which one does is ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engine.process import WorkerDied
from gateway.media.messages import Counters, Open, Pong, Setup, Wish
from gateway.media.pool import environment_of, setup_of
from gateway.media.pull import SLACK_S, Pull
from gateway.media.sources import parse
from gateway.media.worker import Feed, MediaWorker
from tests.media.pulling import Watcher, settings


def test_a_thread_that_does_not_end_when_it_is_cut_hangs_and_one_that_rests_does_not() -> None:
    now = [100.0]
    pull = Pull(Open(1, parse("demo:"), Wish(1)), Setup(), lambda *_: None, clock=lambda: now[0])
    seen = [pull.stuck()]
    pull.expect(5)
    cut = [pull.cuts.done]
    for seconds in (5, 0.1, SLACK_S, 0.1):
        now[0] += seconds
        seen.append(pull.stuck())
        cut.append(pull.cuts.done)
    pull.rest(0)
    seen.append(pull.stuck())
    assert seen == [False, False, False, False, True, False]
    assert cut == [False, False, True, True, True]


def test_a_pong_that_names_a_stuck_stream_ends_the_child(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    worker = MediaWorker(
        "media-1", "network", setup_of(chosen), environment=environment_of(chosen, "network"), nice=0, ping_s=1
    )
    guilty, other = Watcher(), Watcher()
    for number, watcher in ((1, guilty), (2, other)):
        worker.adopt(Feed(number, parse("demo:"), watcher, Wish(number)))
    with pytest.raises(WorkerDied):
        worker._hear(Pong(7, {2: Counters(packets=3)}, (1,)), b"")
    assert (worker.stuck, worker.rss, worker.feeds[2].counters.packets) == ((1,), 7, 3)
    assert guilty.tolds == other.tolds == []  # whose fault it was is told when the child has gone
