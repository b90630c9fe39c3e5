"""Schema: whether a value fits the JSON schema of an analyzer's option, and if not, what was expected.

Only what the schemas of dataclasses say is looked at. What this does not know, the analyzer's own code decides, in its
worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_WORDS = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
}


def misfit(value: Any, schema: Schema, whole: Schema) -> str | None:
    """What a value should have been, as "expected ..., got ...", or None if it fits. `whole` holds the `$defs`.

    The schema comes from a plugin: one that makes no sense refuses nothing.
    """
    try:
        expected = _expected(value, schema, whole)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError):
        return None
    return f"expected {expected}, got {_short(value)}" if expected else None


def _expected(value: Any, schema: Schema, whole: Schema) -> str | None:
    if reference := schema.get("$ref"):
        return _expected(value, _referred(reference, whole), whole)
    for key in ("anyOf", "oneOf"):
        if choices := schema.get(key):
            words = [_expected(value, choice, whole) for choice in choices]
            return None if None in words else " or ".join(dict.fromkeys(word for word in words if word))
    if "const" in schema and not _same(value, schema["const"]):
        return repr(schema["const"])
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        return "one of " + ", ".join(map(str, schema["enum"]))
    if (kind := schema.get("type")) and not _is(value, kind):
        return _WORDS.get(kind, str(kind))
    return _in_range(value, schema) or _within(value, schema, whole)


def _referred(reference: str, whole: Schema) -> Schema:
    found: Any = whole
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step, {})
    return found if isinstance(found, Mapping) else {}


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _number(value) and value == int(value)
        case "number":
            return _number(value)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, (list, tuple))
        case "object":
            return isinstance(value, Mapping)
    return True


def _number(value: Any) -> bool:
    """Infinities and NaN do not exist in JSON."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("{} or more", lambda value, bound: value >= bound),
    "exclusiveMinimum": ("more than {}", lambda value, bound: value > bound),
    "maximum": ("{} at most", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("less than {}", lambda value, bound: value < bound),
    "minLength": ("{} characters or more", lambda value, bound: len(value) >= bound),
    "maxLength": ("{} characters at most", lambda value, bound: len(value) <= bound),
    "minItems": ("{} items or more", lambda value, bound: len(value) >= bound),
    "maxItems": ("{} items at most", lambda value, bound: len(value) <= bound),
}
_BOUNDED = {"Length": str, "Items": (list, tuple), "imum": (int, float)}


def _in_range(value: Any, schema: Schema) -> str | None:
    words = [
        word.format(schema[key])
        for key, (word, fits) in _BOUNDS.items()
        if key in schema and isinstance(value, _carrier(key)) and not fits(value, schema[key])
    ]
    return " and ".join(words) or None


def _carrier(key: str) -> Any:
    """The type a bound is about."""
    return next(kind for ending, kind in _BOUNDED.items() if key.lower().endswith(ending.lower()))


def _within(value: Any, schema: Schema, whole: Schema) -> str | None:
    """The same for what a list or an object holds."""
    if isinstance(value, (list, tuple)):
        fixed = schema.get("prefixItems", ())
        rest = schema.get("items", {})
        places = [(str(n), item, fixed[n] if n < len(fixed) else rest) for n, item in enumerate(value)]
    elif isinstance(value, Mapping):
        fields = schema.get("properties", {})
        if absent := [name for name in schema.get("required", ()) if name not in value]:
            return f"an object with {', '.join(absent)}"
        rest = schema.get("additionalProperties", {})
        places = [(str(name), item, fields.get(name, rest)) for name, item in value.items()]
    else:
        return None
    for place, item, inner in places:
        if inner is False:
            return f"nothing at {place}"
        if isinstance(inner, Mapping) and (expected := _expected(item, inner, whole)):
            return f"{expected} at {place}"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
