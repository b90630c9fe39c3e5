"""Finding: one thing the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` works, `note` is worth knowing, `broken` needs the `remedy`: a command or a step."""

    subject: str
    state: Literal["ok", "note", "broken"]
    text: str
    remedy: str = ""
