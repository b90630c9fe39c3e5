"""Rows as aligned text. The same on a terminal and in a file: nothing is cut, coloured or wrapped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns two spaces apart, those of numbers flush right; None is shown as `-`."""
    body = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    lines = [list(head), *body]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [bool(body) and all(_is_number(row[column]) for row in body) for column in range(len(head))]
    return "\n".join(_line(line, widths, right) for line in lines)


def mebibytes(size: int) -> str:
    """A size for people: `3.5 MiB`, `640 B`."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 / 10 else f"{size / 2**10:.1f} KiB"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if flush else cell.ljust(width)
        for cell, width, flush in zip(cells, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit() or cell == "-"
