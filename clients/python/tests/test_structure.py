"""What the package may be made of."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import framegate_client
from framegate_client.errors import Answer

import gateway

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "framegate_client"
FILE_LINES, FUNCTION_LINES = 400, 50
LIBRARIES = {"framegate_client", "httpx2", "websockets"}
LATE = {"av", "cv2", "numpy"}  # inside functions only


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.glob("*.py")):
        yield path.name, ast.parse(path.read_text())


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield (node.module or "").partition(".")[0]


def test_it_stands_on_two_libraries_and_never_on_the_gateway() -> None:
    found = {name for _, tree in _modules() for name in _imported(tree)} - set(sys.stdlib_module_names)
    assert found == LIBRARIES | LATE
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(line.partition(">")[0] for line in project["dependencies"]) == ["httpx2", "websockets"]


def test_it_has_the_version_of_the_gateway_it_was_tested_with() -> None:
    assert framegate_client.__version__ == gateway.__version__


def test_importing_it_loads_no_picture_library() -> None:
    code = f"import sys, framegate_client; print(sorted({LATE!r} & set(sys.modules)))"
    command, path = [sys.executable, "-c", code], {"PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=path, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_files_and_functions_are_short_and_modules_say_what_they_hold() -> None:
    lengths = {}
    for name, tree in _modules():
        assert len((SOURCE / name).read_text().splitlines()) <= FILE_LINES, name
        assert ast.get_docstring(tree), name
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lengths[name, node.name, node.lineno] = (node.end_lineno or 0) - node.lineno + 1
    assert {where: lines for where, lines in lengths.items() if lines > FUNCTION_LINES} == {}
    assert sorted(lengths.values())[len(lengths) // 2] < 10


def test_what_is_named_as_public_is_there_and_typed() -> None:
    assert sorted(framegate_client.__all__, key=str.lower) == sorted(set(framegate_client.__all__), key=str.lower)
    assert all(hasattr(framegate_client, name) for name in framegate_client.__all__)
    assert (SOURCE / "py.typed").exists()


def test_every_error_is_in_the_tree_of_its_module_and_in_the_readme() -> None:
    tree, readme = framegate_client.errors.__doc__ or "", (ROOT / "README.md").read_text()
    kinds = {each for each in vars(framegate_client.errors).values() if isinstance(each, type)}
    kinds = {kind for kind in kinds if kind.__module__ == "framegate_client.errors"} - {Answer}
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, framegate_client.FramegateError)
        assert kind.__name__ in framegate_client.__all__
        assert kind.__name__ in tree
        assert f"`{kind.__name__}`" in readme
