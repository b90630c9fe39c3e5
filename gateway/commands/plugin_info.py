"""`framegate plugin info`: what one analyzer is, or all of a plugin. Needs no running gateway."""

from __future__ import annotations

import asyncio
import json as jsonlib
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from gateway.commands.plugins import Found, look, state_of
from gateway.commands.table import table

if TYPE_CHECKING:
    from gateway.settings import Settings

LISTS = ("needs", "wants", "labels", "event_types", "permissions")


def plugin_info(settings: Settings, name: str, *, json: bool) -> int:
    """The exit code: 1 if what is shown cannot run here. Raises `SystemExit` if there is no such thing."""
    found = asyncio.run(look(settings))
    chosen = [(item, about) for item in found for about in item.analyzers if name in (about["name"], item.spec.name)]
    broken = [item for item in found if item.failed and item.spec.name == name]
    if not chosen and not broken:
        raise SystemExit(f"plugin info: {_nothing(name, found)}")
    if json:
        shown = [{**about, "source": asdict(item.spec)} for item, about in chosen]
        print(jsonlib.dumps({"analyzers": shown}, indent=2))
    else:
        print("\n\n".join([*(_text(item, about) for item, about in chosen), *(item.failed for item in broken)]))
    return 1 if broken or any(about["missing"] or about["failed"] for _, about in chosen) else 0


def _nothing(name: str, found: list[Found]) -> str:
    known = sorted({about["name"] for item in found for about in item.analyzers} | {item.spec.name for item in found})
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no analyzer {name}; {hint}"


def _text(item: Found, about: dict[str, Any]) -> str:
    rows = [
        ("state", state_of(about)),
        ("title", about["title"]),
        ("plugin", f"{item.spec.name}, {item.spec.distribution or item.spec.path} {about['version']}"),
        ("api", about["api"]),
        *((part.replace("_", " "), ", ".join(about[part]) or "-") for part in LISTS),
    ]
    lines = [about["name"], *(f"  {name:<12}{value}" for name, value in rows)]
    if options := about["options"].get("properties"):
        shown = [(f"  {key}", _kind(option), jsonlib.dumps(option.get("default"))) for key, option in options.items()]
        lines += ["", table(("  OPTION", "TYPE", "DEFAULT"), shown)]
    return "\n".join(lines)


def _kind(option: dict[str, Any]) -> str:
    """The type as JSON schema calls it."""
    if "anyOf" in option:
        return " or ".join(_kind(choice) for choice in option["anyOf"])
    if "enum" in option:
        return " or ".join(map(str, option["enum"]))
    return str(option.get("type", option.get("$ref", "any"))).rpartition("/")[2]
