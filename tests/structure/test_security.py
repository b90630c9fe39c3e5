"""SECURITY.md names every limit, with its default, and every code under which something is turned away."""

from __future__ import annotations

import ast
import re

import pytest

from gateway.limits import Limits
from tests.structure.source import ROOT, modules

PAGE = (ROOT / "SECURITY.md").read_text()
DEFAULTS = dict(re.findall(r"^\|[^|]+\| `([\w.]+)` \|([^|]*)\|[^|]*\|[^|]*\|$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("name", Limits.model_fields)
def test_every_limit_stands_in_the_table(name: str) -> None:
    assert f"limits.{name}" in DEFAULTS, "add a row: what | setting | default | answer | code"


@pytest.mark.parametrize(
    "name", [name for name, field in Limits.model_fields.items() if isinstance(field.default, int)]
)
def test_the_default_of_a_limit_is_the_documented_one(name: str) -> None:
    default = Limits.model_fields[name].default
    words = DEFAULTS[f"limits.{name}"]
    forms = {str(default), f"{default // 1024} KiB", f"{default // 2**20} MiB", f"{default // 10**6} million"}
    assert any(re.search(rf"\b{form}\b", words) for form in forms) or default == 0


def test_every_code_of_a_refusal_stands_in_the_table() -> None:
    codes = {
        str(node.args[0].value)
        for module in modules("gateway")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("refusals.note")
        and isinstance(node.args[0], ast.Constant)
    }
    assert codes
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []
