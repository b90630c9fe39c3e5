"""`framegate config show|schema`: the settings in effect with their sources, and the schema of the file.

What `show` prints is a framegate.toml that gives the same settings again, but for the masked secrets.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from gateway.settings import PREFIX, LegacyEnvironment, Settings, config_path

MASK = "***"
_SECRET = re.compile(r"(token|secret|password|passwd|credential|(api|secret|access|private)_?key)s?$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")

Path_ = tuple[str, ...]  # a setting's place: ("limits", "max_fps")


def show(settings: Settings) -> None:
    print("\n".join(lines(settings)))


def schema() -> None:
    print(json.dumps(Settings.model_json_schema(), indent=2))


def lines(settings: Settings) -> Iterator[str]:
    """The settings as TOML, each with its source as comment."""
    origin = Origins()
    yield from _table((), settings, origin)
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            yield f"\n[{name}]"
            yield from _table((name,), section, origin)
    for analyzer, options in settings.analyzers.items():
        yield f"\n[analyzers.{_key(analyzer)}]"
        for key, value in options.items():
            yield _line(("analyzers", analyzer, key), value, origin)


def _table(place: Path_, model: BaseModel, origin: Origins) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if not isinstance(value, BaseModel) and (*place, name) != ("analyzers",):
            yield _line((*place, name), value, origin)


def _line(place: Path_, value: object, origin: Origins) -> str:
    if value is None:
        return f"# {place[-1]} is not set"
    return f"{_key(place[-1])} = {_toml(masked(place[-1], value))}  # {origin.of(place)}"


def masked(key: str, value: object) -> object:
    """`value` as it may be shown: secrets and the user part of addresses as `***`."""
    if isinstance(value, SecretStr) or (value and isinstance(value, str) and _SECRET.search(key)):
        return MASK
    if isinstance(value, str):
        return _USERINFO.sub(MASK, value)
    if isinstance(value, Mapping):
        return {name: masked(name, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked("", item) for item in value]
    return value


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _toml(value: object) -> str:
    """A TOML value on one line. JSON's strings, numbers and booleans are TOML's."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


class Origins:
    """Which source a setting came from, by looking at the sources in their order."""

    def __init__(self) -> None:
        self._environment = {name.upper() for name in os.environ}
        self._dotenv = {name.upper() for name in _dotenv()}
        path = config_path()
        self._file = tomllib.loads(path.read_text()) if path.is_file() else {}
        self._path = path

    def of(self, place: Path_) -> str:
        names = [PREFIX + "__".join(place[:depth]).upper() for depth in range(len(place), 0, -1)]
        for name in names:
            if name in self._environment:
                return f"environment {name}"
        for name, target in LegacyEnvironment.NAMES.items():
            if target == place and os.environ.get(name):
                return f"environment {name}"
        if place == ("log", "level") and "log" in LegacyEnvironment(Settings)():
            return "environment DEBUG"
        for name in names:
            if name in self._dotenv:
                return f".env {name}"
        return str(self._path) if _within(self._file, place) else "default"


def _dotenv() -> Mapping[str, str | None]:
    from dotenv import dotenv_values

    return dotenv_values(".env")


def _within(tree: Mapping[str, Any], place: Path_) -> bool:
    node: Any = tree
    for name in place:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
