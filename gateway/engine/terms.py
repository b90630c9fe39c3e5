"""Terms: on what terms an analyzer works for one stream: its own options, and those the host has for every analyzer.

Values that a request or the operator got wrong are refused here, before anything has changed. Only what an analyzer's
`__post_init__` alone knows is noticed later, in its worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from gateway.engine.plugins import Manifest
from gateway.engine.schema import misfit
from gateway.errors import UnknownOption
from gateway.protocol import to_text
from gateway.results import plain_json

MOTION = "motion"  # the analyzer whose word opens motion gates
ZONES = "zones"  # the analyzer that a stream gets by itself once something was drawn into its picture
HOST_OPTIONS = ("fps", "motion_gate", "labels", "zones")
HOLD_S = 5.0  # a motion gate stays open for this long after the last movement
MAX_HOLD_S = 86400.0
MAX_FPS = 1000  # of one analyzer on one stream; more is a slip of the keyboard
MAX_OPTIONS = 8192  # characters of JSON that one request may say to one analyzer

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """`options` are the analyzer's own, as the stream wishes them; the rest is the host's, the operator's included.

    None: no pace, no gate, every label, the whole picture.
    """

    options: Values = field(default_factory=dict)
    fps: float | None = None
    hold_s: float | None = None
    labels: frozenset[str] | None = None
    zones: frozenset[str] | None = None


def terms(about: Manifest, operator: Values, wishes: Values, areas: Collection[str] = ()) -> Terms:
    """What an analyzer works under, for these settings and wishes. Raises `UnknownOption`.

    `areas` are the names of the stream's zones. The operator may name zones that only some streams have: a stream that
    has none of them is looked at as a whole.
    """
    own = {key: value for key, value in wishes.items() if not is_host_option(about, key)}
    _check_size(about, own)
    _check_own(about, own)
    both = {key: value for key, value in {**operator, **wishes}.items() if is_host_option(about, key)}
    wanted = _zones(about, both.get("zones"))
    if wanted and "zones" in wishes:
        _check_areas(about, wanted, areas)
    return Terms(
        own,
        _fps(about, both.get("fps")),
        _hold_s(about, both.get("motion_gate")),
        _labels(about, both.get("labels")),
        (wanted & frozenset(areas)) or None if wanted else None,
    )


def is_host_option(about: Manifest, key: str) -> bool:
    """An analyzer may have `labels` or `zones` of its own, which may save it work; then the host's do nothing."""
    return key in HOST_OPTIONS and not (key in ("labels", "zones") and key in _known(about))


def operators_mistake(about: Manifest, operator: Values) -> str | None:
    """What is wrong with the host options under `[analyzers.NAME]`, if anything is."""
    try:
        terms(about, operator, {})
    except UnknownOption as error:
        return f"{error} (settings, [analyzers.{about.name}])"
    return None


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a refusal: the word that was probably meant, or what there is."""
    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else otherwise


def _known(about: Manifest) -> Mapping[str, Any]:
    known: Mapping[str, Any] = about.options.get("properties", {})
    return known


def _check_size(about: Manifest, options: Values) -> None:
    """Options travel with every job, so they are small and flat enough for any reader."""
    try:
        size = len(to_text(plain_json(options, "options")))
    except ValueError as error:
        raise UnknownOption(f"analyzer {about.name}: {error}") from None
    if size > MAX_OPTIONS:
        raise UnknownOption(f"analyzer {about.name}: {size} characters of options, more than {MAX_OPTIONS}")


def _check_own(about: Manifest, options: Values) -> None:
    known = _known(about)
    for key, value in options.items():
        if key in about.load_options:
            raise UnknownOption(f"analyzer {about.name}, option {key}: set by the operator, for all streams")
        if key not in known:
            names = list(dict.fromkeys([*known, *HOST_OPTIONS]))
            hint = nearest(key, names, f"it has {', '.join(names)}")
            raise UnknownOption(f"analyzer {about.name} has no option {key}; {hint}")
        if wrong := misfit(value, known[key], about.options):
            raise UnknownOption(f"analyzer {about.name}, option {key}: {wrong}")


def _fps(about: Manifest, value: Any) -> float | None:
    if value is None or (_is_number(value) and 0 < value <= MAX_FPS):
        return value  # type: ignore[no-any-return]
    raise _refusal(about, "fps", f"frames per second above 0 and up to {MAX_FPS}", value)


def _hold_s(about: Manifest, value: Any) -> float | None:
    if value is None or value is False:
        return None
    if about.name == MOTION:
        raise UnknownOption(f"analyzer {MOTION}, option motion_gate: it is what opens the gates of the others")
    if value is True:
        return HOLD_S
    if _is_number(value) and 0 < value <= MAX_HOLD_S:
        return float(value)
    raise _refusal(about, "motion_gate", f"true, false, or seconds above 0 and up to {MAX_HOLD_S:.0f}", value)


def _labels(about: Manifest, value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(label, str) and label for label in value):
        raise _refusal(about, "labels", "a list of texts", value)
    for label in value:
        if about.labels and label not in about.labels:
            hint = nearest(label, about.labels, f"it has {', '.join(about.labels)}")
            raise UnknownOption(f"analyzer {about.name}, option labels: it has no label {label[:40]!r}; {hint}")
    return frozenset(value)


def _zones(about: Manifest, value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise _refusal(about, "zones", "a list of names of zones", value)
    return frozenset(value)


def _check_areas(about: Manifest, wanted: Iterable[str], areas: Collection[str]) -> None:
    for name in sorted(wanted):
        if name not in areas:
            there = f"it has {', '.join(sorted(areas))}" if areas else "it has none"
            hint = nearest(name, areas, there)
            raise UnknownOption(f"analyzer {about.name}, option zones: the stream has no zone {name[:40]!r}; {hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refusal(about: Manifest, key: str, expected: str, value: Any) -> UnknownOption:
    return UnknownOption(f"analyzer {about.name}, option {key}: expected {expected}, got {repr(value)[:40]}")
