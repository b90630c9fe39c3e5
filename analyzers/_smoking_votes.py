"""Votes: what the looks of the last seconds said about one person, and the best of what was seen of him.

A single look is wrong now and then, whatever the threshold, so a person is a smoker only when several looks over more
than a second agree. Time is counted in seconds, not in frames, so 25 frames a second prove no more than 5.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway import Box

WINDOW_S = 3.0  # the looks that vote: about as long as a cigarette stays at the mouth
LEAST_LOOKS, LONGEST_S = 5, 15.0  # or the last five, if turns are rare because many persons share them
LEAST_EVIDENCE = 3  # looks that saw something,
LEAST_SPAN_S = 1.2  # from the first to the last of them,
LEAST_SHARE = 0.6  # of all looks, or; a smoker has 0.6 (in glaring light) to 1.0, the worst of microphones had 0.5
HAND_SHARE = 0.75  # if it never comes near the mouth: phones, pens and keys stay in the hand, a cigarette does not


@dataclass(frozen=True, slots=True)
class Seen:
    """Evidence in one frame: where, how sure (0-1), and in which frame (`at` in s of the session).

    `at_mouth`: within a head's height of it. `act`: the box is that of somebody smoking, not of a cigarette.
    """

    box: Box
    score: float
    seq: int
    at: float
    at_mouth: bool = True
    act: bool = False


@dataclass(slots=True)
class Votes:
    """(time in s, evidence or None), oldest first; the best so far and its picture."""

    cast: deque[tuple[float, Seen | None]] = field(default_factory=deque)
    best: Seen | None = None
    snapshot: str = ""

    def add(self, now: float, seen: Seen | None) -> None:
        self.cast.append((now, seen))
        while now - self.cast[0][0] > LONGEST_S or (now - self.cast[0][0] > WINDOW_S and len(self.cast) > LEAST_LOOKS):
            self.cast.popleft()
        if not self.evidence:
            self.best, self.snapshot = None, ""  # whoever lights up again later is another matter

    def betters(self, seen: Seen) -> bool:
        return self.best is None or seen.score > self.best.score

    @property
    def evidence(self) -> list[Seen]:
        return [seen for _, seen in self.cast if seen]

    @property
    def last(self) -> Seen | None:
        """What the last look saw."""
        return self.cast[-1][1] if self.cast else None

    @property
    def share(self) -> float:
        """Of the looks, those with evidence; 0-1."""
        return len(self.evidence) / len(self.cast) if self.cast else 0.0

    @property
    def score(self) -> float:
        """Mean score of the evidence, 0-1."""
        return fmean(seen.score for seen in self.evidence) if self.evidence else 0.0

    @property
    def carried(self) -> bool:
        """Whether the person is to be called a smoker."""
        found = self.evidence
        if len(found) < LEAST_EVIDENCE or found[-1].at - found[0].at < LEAST_SPAN_S:
            return False
        return self.share >= (LEAST_SHARE if any(seen.at_mouth for seen in found) else HAND_SHARE)
