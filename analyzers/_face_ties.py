"""Ties faces to the persons they belong to, by where in a person's box a face can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway import Box

HEAD = 0.12  # of a person's height below the top of the box: where the middle of the face of somebody standing is
MARGIN = 0.1  # of a person's width that a face may be beside the box
CUT_OFF = 0.95  # a box that ends below this ends with the picture: only the upper body is in it


def tie(faces: Sequence[Box], persons: Mapping[int, Box]) -> list[int | None]:
    """For each face the id of its person, or None. Nobody has two faces: the nearest to where the head is has it."""
    pairs = [
        (distance, index, id_)
        for index, face in enumerate(faces)
        for id_, person in persons.items()
        if (distance := _distance(face, person)) is not None
    ]
    owners: dict[int, int] = {}
    for _, index, id_ in sorted(pairs):
        if index not in owners and id_ not in owners.values():
            owners[index] = id_
    return [owners.get(index) for index in range(len(faces))]


def _distance(face: Box, person: Box) -> float | None:
    """From the face to where the head is, in face heights; None where this face cannot be this person's."""
    x, y = face.center
    reach = 0.75 if person.y2 > CUT_OFF else 0.45  # of the height; somebody cut off may be all head and shoulders
    beside = MARGIN * person.width
    if not person.x1 - beside <= x <= person.x2 + beside or face.width > 1.3 * person.width:
        return None
    if not person.y1 - 0.5 * face.height <= y <= person.y1 + reach * person.height:
        return None
    head = person.y1 + max(HEAD * person.height, face.height / 2)
    return abs(x - person.center[0]) / max(face.width, 1e-6) + abs(y - head) / max(face.height, 1e-6)
