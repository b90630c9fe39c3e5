"""Card: what is known of weights that were made here, beside them as JSON for programs and Markdown for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.weights import sha256_of

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Card:
    """`confidence` is the score that was best on the validation pictures: the analyzer's threshold. Figures are 0-1."""

    kind: str
    file: str
    sha256: str
    bytes: int
    date: str  # ISO, UTC
    classes: tuple[str, ...]
    licence: str
    made_from: Mapping[str, Any]  # base weights: file, sha256
    made_by: Mapping[str, Any]  # versions and settings of the training
    dataset: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        rows = [
            ("for analyzer", self.kind),
            ("file", f"{self.file}, {self.bytes} bytes"),
            ("SHA-256", self.sha256),
            ("made", self.date),
            ("classes", ", ".join(self.classes)),
            ("licence", self.licence),
            ("made from", _words(self.made_from)),
            ("made by", _words(self.made_by)),
            *((f"data set, {name}", _words(value)) for name, value in self.dataset.items()),
            *((name, f"{value:.3f}") for name, value in self.metrics.items()),
            *([] if self.confidence is None else [("best score", f"{self.confidence:.2f}")]),
        ]
        lines = [f"| {name} | {str(value).replace('|', '/')} |" for name, value in rows]
        return "\n".join([f"# {self.file}", "", "| | |", "|---|---|", *lines, ""])


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def install(model: Path, target: Path, card: Card) -> Card:
    """Put the model at `target` with its card beside it; what was there before is replaced at once, the model last.

    Answers the card with the file's own name, size and hash. Raises `OSError`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(model.read_bytes())
    card = replace(card, file=target.name, sha256=sha256_of(part), bytes=part.stat().st_size)
    for suffix, text in ((".json", card.to_json()), (".md", card.to_markdown())):
        beside = target.with_suffix(suffix)
        half = beside.with_name(beside.name + ".part")
        half.write_text(text, encoding="utf-8")
        os.replace(half, beside)
    os.replace(part, target)
    return card
