"""pytest fixtures for authors: `pytest_plugins = ["gateway.testing.fixtures"]` in the top conftest.py.

`session`, `frames`, `drawn` and `golden` need nothing but the analyzer; `gateway` starts a real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.analyzer import Analyzer
from gateway.commands.scene import Scene
from gateway.frame import Frame
from gateway.results import Result, result_from_json, result_to_json
from gateway.testing.difference import Tolerance, assert_same
from gateway.testing.replaying import pictures
from gateway.testing.running import RunningGateway, running
from gateway.testing.session import Session, frame_of

if TYPE_CHECKING:
    from gateway.frame import Pixels

UPDATE = "--update-golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(UPDATE, action="store_true", help="Write the golden results anew instead of comparing with them.")


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    """`session(Plates, {"side": 320})`: one analyzer and one stream without a server, closed when the test ends.

    `push(picture)` gives the result, `memory` is what `open()` returned, `events` what has been told.
    """
    made: list[Session] = []

    def make(cls: type[Analyzer], options: Mapping[str, Any] | None = None, *, stream_id: str = "test") -> Session:
        made.append(Session(cls, options, stream_id=stream_id))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def drawn() -> Callable[..., list[Pixels]]:
    """`drawn(20)`: pictures of a drawn yard, 640x360, in which a person walks in with a bag and leaves it.

    `fps` (10) is how far apart they are, `start` (2.0) where in the scene's 20 s they begin. The same every time.
    """

    def draw(count: int = 20, *, fps: float = 10.0, start: float = 2.0) -> list[Pixels]:
        scene = Scene()
        return [scene.picture(start + number / fps) for number in range(count)]

    return draw


@pytest.fixture
def frames(drawn: Callable[..., list[Pixels]]) -> Callable[..., list[Frame]]:
    """`frames("clip.mp4", fps=5, limit=50)`: a clip or a folder of pictures as frames at their own times.

    Without a clip, the drawn yard at `fps` (10). `results` go into each frame, for analyzers with needs.
    """

    def load(
        clip: Path | str | None = None,
        *,
        fps: float | None = None,
        limit: int | None = None,
        results: Mapping[str, Result] | None = None,
    ) -> list[Frame]:
        if clip is not None:
            found = islice(pictures(str(clip), fps), limit)
            return [frame_of(one.jpeg, seq=seq, at=one.at, results=results) for seq, one in enumerate(found)]
        rate = fps or 10.0
        scene = drawn(limit or 20, fps=rate)
        return [frame_of(one, seq=seq, at=seq / rate, results=results) for seq, one in enumerate(scene)]

    return load


@pytest.fixture
def gateway() -> Iterator[Callable[..., RunningGateway]]:
    """`gateway("plates.py")`: a real gateway in a process of its own, with these plugin files, until the test ends.

    Settings are given by name: `gateway("plates.py", analysis__deadline_s="5")`. `push(pictures, analyzers=["plates"])`
    gives the results of each picture and the events.
    """
    with ExitStack() as stack:
        yield lambda *plugins, **settings: stack.enter_context(running(*plugins, **settings))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`golden(result, "street")`: compare with golden/street.json beside the test, within a `Tolerance`.

    `pytest --update-golden` writes what is seen now. A file that is not there fails the test.
    """
    folder = request.path.parent / "golden"

    def check(result: Result, name: str, tolerance: Tolerance | None = None) -> None:
        file = folder / f"{name}.json"
        if request.config.getoption(UPDATE):
            folder.mkdir(exist_ok=True)
            file.write_text(json.dumps(result_to_json(result), indent=2, sort_keys=True) + "\n")
            return
        if not file.is_file():
            pytest.fail(f"there is no {file}: run pytest {UPDATE} once, and look at what it wrote")
        assert_same(result, result_from_json(json.loads(file.read_text())), tolerance or Tolerance())

    return check
