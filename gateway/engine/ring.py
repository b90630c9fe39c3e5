"""Ring: what came last on a stream, for clips of what has just happened. Pure, and bounded in time and in bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stamp:
    """One packet of H.264 within a piece. `at`, in order of decoding, and `later`, until it is shown, in s."""

    size: int
    at: float
    later: float
    key: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A JPEG, or with `stamps` some packets of H.264, that came at `at` (monotonic s). `key`: a clip may begin here."""

    at: float
    data: bytes = field(repr=False)
    key: bool = True
    stamps: tuple[Stamp, ...] = ()


class Ring:
    """Pieces in the order they came; always whole groups, each from one key piece to the next."""

    def __init__(self) -> None:
        self.bytes = 0
        self._pieces: deque[Piece] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def coded(self) -> bool:
        """Whether it holds packets, no pictures."""
        return bool(self._pieces) and bool(self._pieces[0].stamps)

    @property
    def newest(self) -> float:
        """The moment of the newest piece; before all time if there is none."""
        return self._pieces[-1].at if self._pieces else float("-inf")

    def add(self, piece: Piece, *, most: int) -> int:
        """Keep it too; how many older ones had to go so that there are no more than `most` bytes."""
        if not self._pieces and not piece.key:
            return 0
        self._pieces.append(piece)
        self.bytes += len(piece.data)
        before = len(self._pieces)
        while self.bytes > most and self._pieces:
            self._drop_group()
        return before - len(self._pieces)

    def forget(self, before: float) -> None:
        """Drop what is not needed to show everything from this moment on."""
        while (start := self._second_group()) is not None and self._pieces[start].at <= before:
            self._drop_group()
        if self._pieces and self._pieces[-1].at < before:
            self.clear()

    def clear(self) -> None:
        self._pieces.clear()
        self.bytes = 0

    def since(self, moment: float) -> list[Piece]:
        """What shows everything from this moment on, as far as it is there; it begins with a key piece."""
        pieces = list(self._pieces)
        starts = [number for number, piece in enumerate(pieces) if piece.key and piece.at <= moment]
        return pieces[starts[-1] :] if starts else pieces

    def _second_group(self) -> int | None:
        """Where the second key piece is."""
        return next((n for n, piece in enumerate(self._pieces) if n and piece.key), None)

    def _drop_group(self) -> None:
        for _ in range(self._second_group() or len(self._pieces)):
            self.bytes -= len(self._pieces.popleft().data)
