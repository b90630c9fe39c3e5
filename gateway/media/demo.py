"""The connector `demo:`, the drawn yard. It enters by the entry point that strangers' plugins enter by."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gateway import Capture, Connector, Demand, SourceFailed, hookimpl
from gateway.commands.scene import Scene

IDLE_S = 1.0  # between pictures that nobody looks at


class Demo(Connector):
    """A drawn yard with people and a bag, as fast as it is wished"""

    scheme = "demo"

    def __init__(self, address: str) -> None:
        super().__init__(address)
        if address:
            raise SourceFailed("address", "nothing follows demo:")

    def captures(self, demand: Demand) -> Iterator[Capture]:
        scene, began = Scene(), time.monotonic()
        due = began
        while True:
            yield Capture(scene.jpeg(time.monotonic() - began))
            due = max(due + (1 / demand.fps if demand.wanted else IDLE_S), time.monotonic())
            if not demand.wait(due - time.monotonic()):
                return


@hookimpl
def register_connectors() -> list[type[Connector]]:
    return [Demo]
