"""What the gateway says it answers: read from docs/http.md and docs/protocol.md, where its users read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.servers import ROOT

DOCS = ROOT / "docs"
SUCCESS = frozenset({101, 200, 202, 204, 206, 304, 307})
CLIENTS = frozenset({1006})  # what a client sees; nobody sends it
_NUMBER = re.compile(r"\b[1-5]\d{3}\b|\b[45]\d{2}\b")
_WORD = re.compile(r"`([a-z0-9_]+)`")


@dataclass(frozen=True, slots=True)
class Documented:
    """Statuses with the codes of their problem documents, close codes, and codes of `error` messages.

    A status without codes is told by something below the application, in plain text.
    """

    statuses: dict[int, frozenset[str]]
    closes: frozenset[int]
    errors: frozenset[str]

    def allows(self, status: int, code: str) -> bool:
        """`code` is empty where the answer was no problem document. What is our own defect is never allowed."""
        if status == 500:
            return False
        return status in SUCCESS or (status in self.statuses and (not code or code in self.statuses[status]))


def documented(folder: Path = DOCS) -> Documented:
    """Read from the tables of the pages. Raises `KeyError` where a page has lost its table."""
    http, protocol = (folder / "http.md").read_text(), (folder / "protocol.md").read_text()
    statuses: dict[int, frozenset[str]] = {}
    for number, codes, _ in _table(http, "| status | `code` |"):
        statuses[int(number)] = statuses.get(int(number), frozenset()) | frozenset(_WORD.findall(codes))
    mistakes = [row[0] for row in _table(protocol, "| code of the `error` |")]
    closes = [row[0] for row in _table(protocol, "| close code | what it means |")]
    numbers = frozenset(int(number) for row in closes for number in _NUMBER.findall(row))
    common = frozenset(_WORD.findall(" ".join(mistakes)))
    return Documented(statuses, numbers - CLIENTS, common)


def _table(text: str, head: str) -> Iterator[list[str]]:
    """Cells of the rows of the table whose head begins like this."""
    lines = iter(text.splitlines())
    if not any(line.startswith(head) for line in lines):
        raise KeyError(head)
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]
