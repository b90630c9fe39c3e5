"""`framegate plugin new`: a package with an analyzer that runs at once, its tests, sample frames and CI."""

from __future__ import annotations

import re
import runpy
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.resources import files
from keyword import iskeyword
from pathlib import Path
from string import Template

from gateway.hookspecs import ENTRY_POINT_GROUP
from gateway.version import __version__

NAME = re.compile(r"[a-z](?:[a-z0-9]|[_-](?=[a-z0-9])){0,39}")  # as analyzers and (PEP 508) distributions may be called
LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "none")
PREFIX = "framegate-"

# What is made, from which template.
FILES = {
    "{module}.py": "module.py",
    "pyproject.toml": "pyproject.toml",
    "conftest.py": "conftest.py",
    "tests/test_{underscored}.py": "checks.py",
    "tests/drawing.py": "drawing.py",
    ".github/workflows/test.yml": "workflow.yml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
}


@dataclass(frozen=True, slots=True)
class New:
    """What was asked for."""

    name: str
    folder: Path
    author: str = ""
    licence: str = "MIT"
    function: bool = False

    @property
    def underscored(self) -> str:
        return self.name.replace("-", "_")

    @property
    def dashed(self) -> str:
        return self.name.replace("_", "-")


def plugin_new(wish: New) -> int:
    """The exit code. Raises `SystemExit` for a name that will not do and a place that is taken."""
    _check_name(wish.name)
    try:
        if wish.function:
            return _function(wish)
        return _package(wish)
    except OSError as error:
        raise SystemExit(f"plugin new: {error.filename}: {error.strerror}") from None


def _check_name(name: str) -> None:
    if name.startswith(PREFIX) and NAME.fullmatch(name):
        raise SystemExit(f"plugin new: the package gets {PREFIX} by itself; did you mean {name.removeprefix(PREFIX)}?")
    if not NAME.fullmatch(name):
        raise SystemExit(
            f"plugin new: a name is up to 40 of a-z, 0-9, - and _, begins with a letter and ends with none of the "
            f"last two, got {name!r}; did you mean {_nearest(name)}?"
        )
    taken = {entry.name: entry.dist.name if entry.dist else "" for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name in taken:
        raise SystemExit(f"plugin new: there is an analyzer {name} already, of {taken[name]}; choose another name")


def _nearest(name: str) -> str:
    """The name that was probably meant."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    parts = [part for part in re.split(r"[^a-z0-9_]+|_(?![a-z0-9])", split.removeprefix(PREFIX)) if part.strip("_")]
    return re.sub(r"^[^a-z]+", "", "-".join(part.strip("_") for part in parts))[:40].rstrip("-_") or "my-analyzer"


def _function(wish: New) -> int:
    file = wish.folder / f"{wish.underscored}.py"
    if file.exists():
        raise SystemExit(f"plugin new: {file} is there already")
    identifier = wish.underscored + ("_" if iskeyword(wish.underscored) else "")
    argument = "" if identifier == wish.name else f'"{wish.name}"'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_filled("function.py", {"identifier": identifier, "argument": argument}))
    print(f"{file}\n\nnext: framegate plugin dev {file}")
    return 0


def _package(wish: New) -> int:
    if wish.licence not in LICENCES:
        near = get_close_matches(wish.licence, LICENCES, 1, 0.3)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(LICENCES)}"
        raise SystemExit(f"plugin new: there is no licence {wish.licence} here{hint}")
    top = wish.folder / f"{PREFIX}{wish.dashed}"
    if top.exists():
        raise SystemExit(f"plugin new: {top} is there already")
    words = _words(wish)
    made = {name.format(**words): _filled(template, words) for name, template in FILES.items()}
    if wish.licence != "none":
        made["LICENSE"] = _licence(wish.licence, words)
    for name, text in made.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    runpy.run_path(str(top / "tests" / "drawing.py"), run_name="__main__")
    print("\n".join([*(str(top / name) for name in sorted(made)), f"{top / 'frames'}, drawn"]))
    print(_next(top, words))
    return 0


def _words(wish: New) -> dict[str, str]:
    """What the templates say in each place."""
    major, minor = __version__.split(".")[:2]
    words = wish.dashed.split("-")
    holder = wish.author.partition("<")[0].strip()
    return {
        "name": wish.name,
        "dashed": wish.dashed,
        "underscored": wish.underscored,
        "module": f"framegate_{wish.underscored}",
        "Class": "".join(word.capitalize() for word in words),
        "Title": " ".join(words).capitalize(),
        "least": f"{major}.{minor}",
        "next": str(int(major) + 1),
        "about": _about(wish),
        "year": str(datetime.now(UTC).year),
        "holder": holder or f"the authors of {PREFIX}{wish.dashed}",
    }


def _about(wish: New) -> str:
    """Lines of pyproject.toml that are there only if they were asked for."""
    lines = [f'license = "{wish.licence}"'] if wish.licence != "none" else []
    if wish.author:
        name, _, mail = (part.strip(" >") for part in wish.author.partition("<"))
        fields = [f"{key} = {_quoted(value)}" for key, value in (("name", name), ("email", mail)) if value]
        lines.append(f"authors = [{{ {', '.join(fields)} }}]")
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _licence(name: str, words: dict[str, str]) -> str:
    if name != "Apache-2.0":
        return _filled(name, words)
    try:
        text = distribution("framegate").read_text("licenses/LICENSE")  # ours
    except PackageNotFoundError:
        text = None
    if not text:
        raise SystemExit("plugin new: the text of Apache-2.0 comes with the installed Framegate, which is not there")
    return text


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((files("gateway.commands") / "templates" / f"{template}.txt").read_text()).substitute(words)


def _next(top: Path, words: dict[str, str]) -> str:
    """What to do now, with what it is for."""
    module = words["module"]
    steps = {
        f"framegate plugin dev {module}.py --source frames": "to see it work; it is reloaded whenever you save",
        'pip install -e ".[test]" && pytest': "for its own tests",
        f"framegate plugin test {module}.py": "for the rules that the host relies on",
    }
    width = max(map(len, steps))
    return "\n      ".join([f"\nnext: cd {top}", *(f"{step:<{width}}  {why}" for step, why in steps.items())])
