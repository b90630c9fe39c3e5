"""Hours: times of the day, as people write them: `22:00-06:00, 12:30-13:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time

SPAN = re.compile(r"([01]\d|2[0-4]):([0-5]\d)\s*-\s*([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of the day in minutes from midnight, the end not included; one that ends before it begins goes over it."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, text: str) -> Hours:
        """Raises `ValueError` for what is no list of spans."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        found = [SPAN.fullmatch(part) for part in parts]
        for part, match in zip(parts, found, strict=True):
            if match is None or any(_minute(*match.group(*ends)) > 1440 for ends in ((1, 2), (3, 4))):
                raise ValueError(f"closed must be spans such as 22:00-06:00, got {part!r}")
        return cls(tuple((_minute(*m.group(1, 2)), _minute(*m.group(3, 4))) for m in found if m))

    def hold(self, moment: datetime) -> bool:
        """Whether it is one of these hours where the server is."""
        local: time = moment.astimezone().time()
        now = local.hour * 60 + local.minute
        return any(begin <= now < end if begin < end else now >= begin or now < end for begin, end in self.spans)


def _minute(hour: str | None, minute: str | None) -> int:
    return int(hour or 0) * 60 + int(minute or 0)
