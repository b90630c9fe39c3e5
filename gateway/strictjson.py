"""JSON from strangers, taken strictly: what another reader could understand otherwise is refused (RFC 7493).

A name twice in one object, numbers beyond 64 bits or without a value, lone surrogates, and nesting that costs whoever
walks it.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from pydantic_core import from_json

DEPTH = 32
VALUES = 10_000  # of one document; walking more would hold up everybody else
_LEAST, _MOST = -(2**63), 2**64 - 1


def parse(text: str, *, depth: int = DEPTH) -> Any:
    """The value of a document. Raises `ValueError`, which quotes nothing of it."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except TypeError:  # lone surrogates, which have no UTF-8
        raise ValueError("text that is no Unicode") from None
    if _colons(value, depth) != _colons_in(text) or "\\" in text:
        json.loads(text, object_pairs_hook=_unique)
    return value


def _colons(value: Any, depth: int) -> int:
    """How many colons its text has, if no name stands twice in an object and none is escaped. Raises `ValueError`.

    One for each name, and those within strings: so a document is read a second time only where it may be wrong.
    """
    colons = values = 0
    level: list[Any] = [value]
    for _ in range(depth + 1):
        values += len(level)
        if values > VALUES:
            raise ValueError(f"more than {VALUES} values")
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, str):
                colons += _colons_in(item)
            elif isinstance(item, dict):
                colons += len(item) + sum(name.count(":") for name in item)
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            else:
                _check_number(item)
        if not deeper:
            return colons
        level = deeper
    raise ValueError(f"nested deeper than {depth}")


def _colons_in(text: str) -> int:
    """Searching is ten times faster than counting where, as in a picture as base64, there are few."""
    colons, at = 0, text.find(":")
    while at >= 0:
        colons += 1
        if colons == 100:
            return text.count(":")
        at = text.find(":", at + 1)
    return colons


def _check_number(item: Any) -> None:
    if isinstance(item, float) and not isfinite(item):  # the parser lets 1e400 through as infinity
        raise ValueError("a number that is not finite")
    if isinstance(item, int) and not _LEAST <= item <= _MOST:
        raise ValueError("a number beyond 64 bits")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object")
    return found
