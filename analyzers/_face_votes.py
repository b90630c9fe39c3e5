"""Votes: whose face is being followed, as all good looks at it together say.

A single look at a singing or turned face says little: of one person's 21 looks in a clip the likeness to the right
picture was 0.2-0.7, that of their weighted sum 0.7, while strangers' sums stay where their looks are, below 0.4. So
every look adds its vector, weighted by its quality, and the sum is what is compared. "Unknown" is an answer only after
several good looks; before, and between the two thresholds, nothing is said. And a face that has not itself said so
for a while is not called by its track's name: the track may have gone over to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from gateway import Box, FileLibrary, Match

    Vector = npt.NDArray[np.float32]

State = Literal["known", "unknown", "undecided"]

WINDOW_S = 8.0  # looks that vote; longer ago it may have been somebody else in the same track
MOST_LOOKS = 40
LEAST_QUALITY = 0.12  # of a look that may vote: less is blur, a profile or a dozen pixels
GOOD_QUALITY = 0.3  # of a look that counts towards "unknown": good enough that somebody enrolled would be recognised
LEAST_LOOKS = 2  # to be somebody
SURE = 0.9  # confidence at which one good look is enough
UNKNOWN_LOOKS, UNKNOWN_S = 5, 1.0  # good looks, over so many seconds, to be a stranger
HOLD = 0.6  # of the threshold: who has been named stays named above it
SUPPORT_S = 3.0  # a face keeps its track's name for so long without a look that counts
NEW = 0  # the number of faces that are not followed yet
OTHER_FACE, LATEST = 0.2, 3  # the latest looks this unlike those before them: somebody else has taken the track over


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One look at a face: its vector, what it is worth (0-1), where and when (s) it was."""

    vector: Vector
    quality: float
    box: Box
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How the votes stand. `person_id` is there if the state is "known"; confidence 0-1 and cosine are the best's."""

    state: State = "undecided"
    person_id: str | None = None
    confidence: float = 0.0
    similarity: float = 0.0


@dataclass(slots=True)
class Rules:
    """What the votes are counted by: the option `threshold`, and the network's calibration."""

    threshold: float
    model: str
    calibrate: Any  # cosine -> confidence 0-1


@dataclass(slots=True, eq=False)
class Votes:
    """The looks at one face, and how they stand; `best` is the one worth most."""

    looks: list[Look] = field(default_factory=list)
    voted_at: dict[int, float] = field(default_factory=dict)  # s, by number of the face
    standing: Standing = field(default_factory=Standing)
    best: Look | None = None
    asked_at: float = float("-inf")  # s; when it was last looked at, whatever came of it
    library_version: int = -1

    def add(self, look: Look, face: int | None = None) -> None:
        """Count a look, of `LEAST_QUALITY` or more. `face` is the number of the face, if it is followed yet."""
        self.voted_at = {one: at for one, at in self.voted_at.items() if look.at - at <= SUPPORT_S}
        self.voted_at[face or NEW] = look.at
        lately = [one for one in self.looks if look.at - one.at <= WINDOW_S]
        self.looks = [*lately[1 - MOST_LOOKS :], look]
        if self._taken_over():
            self.looks, self.standing, self.best = self.looks[-LATEST:], Standing(), None
        if self.best is None or look.quality > self.best.quality:
            self.best = look

    def supported(self, face: int | None, now: float) -> bool:
        """Whether this face has lately given a look that counts; one that is not followed yet, now."""
        return now - self.voted_at.get(face or NEW, float("-inf")) <= (SUPPORT_S if face else 0.0)

    def merge(self, other: Votes) -> None:
        """Another track turned out to be the same face's."""
        self.looks = sorted([*self.looks, *other.looks], key=lambda look: look.at)[-MOST_LOOKS:]
        self.voted_at |= other.voted_at
        if self.standing.state == "undecided":
            self.standing = other.standing
        if other.best and (self.best is None or other.best.quality > self.best.quality):
            self.best = other.best

    def count(self, library: FileLibrary, rules: Rules) -> None:
        """Ask the library whose face the looks together are."""
        if self.looks:
            match = library.match(summed(self.looks), rules.model)[0]
            self.standing = self._stand(match, rules)
            self.library_version = library.version

    def _stand(self, match: Match, rules: Rules) -> Standing:
        confidence = rules.calibrate(match.similarity) if match.person_id else 0.0
        held = self.standing.state == "known" and self.standing.person_id == match.person_id
        if confidence >= rules.threshold * (HOLD if held else 1.0) and match.clear:
            if held or len(self.looks) >= LEAST_LOOKS or (confidence >= SURE and self.looks[0].quality >= GOOD_QUALITY):
                return Standing("known", match.person_id, confidence, match.similarity)
        elif confidence < rules.threshold * HOLD and self._well_seen():
            return Standing("unknown", None, confidence, match.similarity)
        return Standing("undecided", None, confidence, match.similarity)

    def _well_seen(self) -> bool:
        good = [look for look in self.looks if look.quality >= GOOD_QUALITY]
        return len(good) >= UNKNOWN_LOOKS and good[-1].at - good[0].at >= UNKNOWN_S

    def _taken_over(self) -> bool:
        earlier, latest = self.looks[:-LATEST], self.looks[-LATEST:]
        return len(earlier) >= LATEST and float(summed(earlier) @ summed(latest)) < OTHER_FACE


def summed(looks: Sequence[Look]) -> Vector:
    """The looks as one vector of unit length, each weighted by its quality."""
    total: Vector = np.sum([look.quality * look.vector for look in looks], axis=0)
    return (total / max(float(np.linalg.norm(total)), 1e-6)).astype(np.float32)
