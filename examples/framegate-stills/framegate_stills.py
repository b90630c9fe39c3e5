"""Stills: the newest picture of a folder, for cameras that upload pictures instead of serving them."""

from collections.abc import Iterator
from pathlib import Path

from gateway import Capture, Connector, Demand, SourceFailed, hookimpl

KINDS = (".jpg", ".jpeg", ".png", ".webp")
LOOK_S = 0.2  # between two looks into the folder


class Stills(Connector):
    """The newest picture of a folder"""

    scheme = "stills"
    permissions = ("files",)
    admin = True  # it reads whatever folder it is told

    def captures(self, demand: Demand) -> Iterator[Capture | None]:
        folder, last = Path(self.address), None
        if not folder.is_dir():
            raise SourceFailed("not_found", "there is no such folder")
        while demand.wait(LOOK_S):
            newest = self._newest(folder)
            if newest is None or newest == last:
                yield None
                continue
            last = newest
            written, path = newest
            yield Capture(path.read_bytes(), captured=written)

    def _newest(self, folder: Path) -> tuple[float, Path] | None:
        """When it was written, epoch s, and where it lies. A name with a dot in front is still being written."""
        found = (path for path in folder.iterdir() if path.suffix.lower() in KINDS and path.name[0] != ".")
        return max(((path.stat().st_mtime, path) for path in found), default=None)


@hookimpl
def register_connectors() -> list[type[Connector]]:
    return [Stills]
