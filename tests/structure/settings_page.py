"""docs/settings.md, written from the settings themselves: `python -m tests.structure.settings_page` writes it anew."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway import Analyzer
from gateway.hookspecs import ENTRY_POINT_GROUP, OPTIONAL_GROUP
from gateway.settings import PREFIX, LegacyEnvironment, Settings
from tests.structure.source import ROOT

PAGE = ROOT / "docs" / "settings.md"
OURS = "framegate"

Place = tuple[str, ...]  # ("limits", "max_fps")

INTRODUCTION = """\
# Settings

Every setting can be given in four places. The first that names it wins:

1. a flag of the command, where there is one (`framegate serve --help`);
2. the environment: `FRAMEGATE_` and the key in capitals, sections separated by two underscores. A list is JSON:
   `FRAMEGATE_ALLOWED_ORIGINS='["https://cams.example"]'`. A file `.env` in the current folder counts as environment;
3. `framegate.toml` in the current folder, or the file that `--config` or `FRAMEGATE_CONFIG` names;
4. the default.

[`framegate.toml`](../framegate.toml) is the sample: every key with its default and when to change it. A wrong value or
an unknown key in the file stops the start with one line that names it. `framegate config show` prints what is in effect
and where each value came from; `framegate config schema` prints the JSON schema for editors.

This page is made from the settings by `python -m tests.structure.settings_page`; a test keeps it fresh.
"""

ELSEWHERE = """\
## Other names in the environment

| variable | what it does |
|---|---|
| `FRAMEGATE_CONFIG` | the settings file, instead of `./framegate.toml` |
| `FRAMEGATE_OFFLINE` | `framegate models pull` never uses the network, as with `--offline` |

Names of older systems keep working. `FRAMEGATE_...` wins over them, and they win over `.env` and the file.

| older name | setting |
|---|---|
"""

LAST_NAMES = """\
| `DEBUG` | `log.level = "DEBUG"` when it is `1`, `true`, `yes` or `on` and no level is set |
| `MONGODB_URL` | refused: the database is SQL now |
"""

ANALYZERS = """\
## Options of the built-in analyzers

In the file under `[analyzers.NAME]`, for all streams; in `POST /stream/request` under `options`, for one stream. Every
analyzer also takes `fps`, frames per second at most. `GET /api/analyzers` shows the options of all that are installed.
Options marked * are read when the model is loaded: only the operator can set them.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_settings(), ELSEWHERE + _older_names() + LAST_NAMES, ANALYZERS, *_analyzers()])


def leaves(model: type[BaseModel] = Settings, place: Place = ()) -> Iterator[tuple[Place, FieldInfo]]:
    """Every setting with its place: `("limits", "max_fps")`."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*place, name))
        else:
            yield (*place, name), field


def default_of(field: FieldInfo) -> Any:
    """The default as plain data; None where there is none or the machine decides."""
    return None if field.default is PydanticUndefined else field.default


def variable(place: Place) -> str:
    return PREFIX + "__".join(place).upper()


def _settings() -> Iterator[str]:
    sections = {place[0]: Settings.model_fields[place[0]].annotation for place, _ in leaves() if len(place) > 1}
    yield _table("## Top level", "", [(place, field) for place, field in leaves() if len(place) == 1])
    for section, model in sections.items():
        about = (model.__doc__ or "").strip()
        yield _table(f"## [{section}]", about, [(place, field) for place, field in leaves() if place[0] == section])


def _table(title: str, about: str, rows: list[tuple[Place, FieldInfo]]) -> str:
    lines = [title, ""]
    if about:
        lines += [about, ""]
    lines += ["| key | type | default | environment | what it is |", "|---|---|---|---|---|"]
    for place, field in rows:
        shown = (
            f"`{place[-1]}`",
            _type(field),
            _default(place, field),
            f"`{variable(place)}`",
            field.description or "",
        )
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, ""])


def _type(field: FieldInfo) -> str:
    bounds = "".join(
        f", {sign} {getattr(rule, word)}"
        for rule in field.metadata
        for word, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(rule, word, None) is not None
    )
    return _kind(field.annotation) + bounds


def _kind(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin is UnionType:
        return " or ".join(_kind(part) for part in arguments if part is not type(None))
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "tables"
    return {
        str: "text",
        bool: "true or false",
        int: "whole number",
        float: "number",
        Path: "path",
        SecretStr: "secret",
    }[kind]


def _default(place: Place, field: FieldInfo) -> str:
    if place == ("home",):
        return "the platform's data folder"
    default = default_of(field)
    return "not set" if default is None else f"`{json.dumps(default)}`"


def _older_names() -> str:
    return "".join(f"| `{name}` | `{'.'.join(place)}` |\n" for name, place in LegacyEnvironment.NAMES.items())


def _analyzers() -> Iterator[str]:
    for cls in built_in():
        lines = [f"### {cls.name}", "", "| option | type | default | what it is |", "|---|---|---|---|"]
        comments = _comments(cls.Options)
        for option in fields(cls.Options):
            name = f"`{option.name}`" + (" *" if option.name in cls.load_options else "")
            default = json.dumps(option.default)
            lines.append(f"| {name} | {_plain(option.type)} | `{default}` | {comments.get(option.name, '')} |")
        yield "\n".join([*lines, ""])


def built_in() -> list[type[Analyzer]]:
    """Our own analyzers, by their entry points; those that are on by themselves first."""
    groups = (ENTRY_POINT_GROUP, OPTIONAL_GROUP)
    return [cls for group in groups for cls in _of_group(group)]


def _of_group(group: str) -> list[type[Analyzer]]:
    ours = [entry for entry in entry_points(group=group) if entry.dist and entry.dist.name == OURS]
    loaded = (importlib.import_module(entry.value) for entry in sorted(ours, key=lambda entry: entry.name))
    bringing = (module for module in loaded if hasattr(module, "register_analyzers"))
    return [cls for module in bringing for cls in module.register_analyzers()]


def _plain(kind: Any) -> str:
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "yes or no",
        "tuple[str, ...]": "list of text",
    }
    return words.get(str(kind), f"`{kind}`")


def _comments(options: type) -> dict[str, str]:
    """The comment behind each option, which says its unit and range."""
    found = re.findall(r"^\s+(\w+): [^#\n]*#\s*(.+)$", inspect.getsource(options), re.MULTILINE)
    return dict(found)


if __name__ == "__main__":
    PAGE.write_text(page())
