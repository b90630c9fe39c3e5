"""What a worker says, checked before anybody believes it.

A plugin shares its process with our own code there and can write to the same socket, so the gateway takes nothing from
it that its viewers, its metrics or the gateway itself could not live with. `check_result` is asked on both sides: what
it finds in the worker is that analyzer's error; in the gateway it is the end of that worker. All raise `ValueError`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from gateway.engine.connectors import ConnectorManifest
from gateway.engine.plugins import Manifest
from gateway.results import SEVERITIES, check_label, plain_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_TEXT, MAX_TRACEBACK = 1000, 20_000  # characters
MAX_BATCH = 256
SKIPS = frozenset({"loading", "needs", "undecodable", "unknown_option"})  # they name a metric's label

Message = dict[str, Any]


def check_result(result: object) -> Message:
    """A result as `result_to_json` makes them, made plain. 25 us for 20 detections; making objects of it takes 140."""
    found: Message = _check(_result(), result)
    return found


def check_call(report: Message, analyzer: str, count: int) -> None:
    """Whether it answers a call to this analyzer about so many frames."""
    _check(_call(), report)
    if report["analyzer"] != analyzer:
        raise ValueError(f"expected an answer of {analyzer}, got one of {report['analyzer']}")
    outcomes = report["outcomes"]
    if len(outcomes) != count:
        raise ValueError(f"expected {count} outcomes of {analyzer}, got {len(outcomes)}")
    for outcome in outcomes:
        if sum(word in outcome for word in ("result", "error", "skipped")) != 1:
            raise ValueError(f"an outcome is a result, an error or a skip, got {', '.join(outcome) or 'nothing'}")


def check_alone(report: Message, count: int) -> int:
    """Which frame of a batch is now looked at alone."""
    _check(_alone(), report)
    item: int = report["item"]
    if item >= count:
        raise ValueError(f"there is no frame {item} in a batch of {count}")
    return item


def check_state(report: Message) -> None:
    """Whether it says what came of loading a model."""
    _check(_state(), report)


def check_hello(hello: Message) -> None:
    """Whether it names analyzers by manifests."""
    _check(_hello(), hello)
    for item in hello["analyzers"]:
        check_manifest(item)
    for item in hello.get("connectors", ()):
        check_connector(item)


def check_manifest(item: object) -> None:
    try:
        _manifest().validate_python(item)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def check_connector(item: object) -> None:
    try:
        _connector().validate_python(item)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def _check(schema: SchemaValidator, value: object) -> Any:
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def _first(error: ValidationError) -> str:
    about = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part)[:80] for part in about["loc"])
    said = about["msg"].removeprefix("Value error, ")[:200]
    return f"{place}: {said}" if place else said


# --- schemas ---------------------------------------------------------------------------------------------------------


def _object(optional: dict[str, cs.CoreSchema] | None = None, **required: cs.CoreSchema) -> cs.CoreSchema:
    fields = {name: cs.typed_dict_field(schema) for name, schema in required.items()}
    fields |= {name: cs.typed_dict_field(schema, required=False) for name, schema in (optional or {}).items()}
    return cs.typed_dict_schema(fields, extra_behavior="forbid", strict=True)


def _plain(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")  # noqa: TRY004 - pydantic's convention
    return plain_json(value, "it") if value else value


def _upright(corners: list[float]) -> list[float]:
    x1, y1, x2, y2 = corners
    if x1 > x2 or y1 > y2:
        raise ValueError(f"box corners must be top left, then bottom right, got {corners}")
    return corners


def _text(most: int = MAX_TEXT) -> cs.CoreSchema:
    return cs.str_schema(strict=True, max_length=most)


_UNIT = cs.float_schema(ge=0, le=1, strict=True)
_CORNERS = cs.list_schema(_UNIT, min_length=4, max_length=4, strict=True)
_BOX = cs.no_info_after_validator_function(_upright, _CORNERS)
_LABEL = cs.no_info_after_validator_function(check_label, _text())
_PLAIN = cs.no_info_plain_validator_function(_plain)
_WORDS = cs.list_schema(_text(), strict=True)
_ID = cs.int_schema(strict=True, ge=0)
_MS = cs.float_schema(ge=0, allow_inf_nan=False, strict=True)
_TROUBLE: dict[str, cs.CoreSchema] = {
    "reason": cs.nullable_schema(_text()),
    "traceback": cs.nullable_schema(_text(MAX_TRACEBACK)),
}


def _result_schema() -> cs.CoreSchema:
    detection = _object(
        track_id=cs.nullable_schema(cs.int_schema(strict=True)),
        label=_LABEL,
        score=_UNIT,
        box=_BOX,
        zones=_WORDS,
        attributes=_PLAIN,
        person=cs.nullable_schema(_text()),
    )
    sighting = _object(
        event_type=_LABEL,
        key=_text(),
        score=_UNIT,
        label=_text(),
        box=cs.nullable_schema(_BOX),
        severity=cs.literal_schema(list(SEVERITIES)),
        linger_s=cs.float_schema(ge=0, strict=True),
        person_id=cs.nullable_schema(_text()),
        bag_id=cs.nullable_schema(_text()),
        zones=_WORDS,
        data=_PLAIN,
    )
    return _object(
        {"faint": cs.list_schema(detection, strict=True)},
        detections=cs.list_schema(detection, strict=True),
        measures=_PLAIN,
        data=_PLAIN,
        sightings=cs.list_schema(sighting, strict=True),
    )


@cache
def _result() -> SchemaValidator:
    return SchemaValidator(_result_schema())


@cache
def _call() -> SchemaValidator:
    about = {"result": _result_schema(), "error": _text(), "skipped": cs.literal_schema(sorted(SKIPS)), **_TROUBLE}
    outcomes = cs.list_schema(_object(about), strict=True)
    kind = cs.literal_schema(["call"])
    return SchemaValidator(_object({"id": _ID}, t=kind, analyzer=_text(), ms=_MS, outcomes=outcomes))


@cache
def _alone() -> SchemaValidator:
    return SchemaValidator(_object({"id": _ID}, t=cs.literal_schema(["alone"]), analyzer=_text(), item=_ID))


@cache
def _state() -> SchemaValidator:
    batch = cs.int_schema(ge=0, le=MAX_BATCH, strict=True)
    file = {
        **{name: cs.nullable_schema(_text()) for name in ("name", "licence", "sha256", "expected")},
        "bytes": cs.nullable_schema(cs.int_schema(ge=0, strict=True)),
    }
    files = cs.list_schema(_object(None, file=_text(), path=_text(4096), state=_text(), **file), strict=True)
    about = {"batch": batch, "device": cs.nullable_schema(_text()), "weights": files, **_TROUBLE}
    states = cs.literal_schema(["ready", "failed"])
    return SchemaValidator(_object(about, t=cs.literal_schema(["state"]), analyzer=_text(), state=states))


@cache
def _manifest() -> TypeAdapter[Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)


@cache
def _connector() -> TypeAdapter[ConnectorManifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(ConnectorManifest)


@cache
def _hello() -> SchemaValidator:
    failed = cs.dict_schema(_text(), _text(MAX_TRACEBACK), strict=True)
    fields = {
        "t": cs.typed_dict_field(cs.literal_schema(["hello"])),
        "analyzers": cs.typed_dict_field(cs.list_schema(cs.dict_schema(strict=True), strict=True)),
        "failed": cs.typed_dict_field(failed),
        "connectors": cs.typed_dict_field(cs.list_schema(cs.dict_schema(strict=True), strict=True), required=False),
        "confined": cs.typed_dict_field(cs.dict_schema(_text(), _text(), strict=True), required=False),
    }
    return SchemaValidator(cs.typed_dict_schema(fields, strict=True))
