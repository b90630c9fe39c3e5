"""Whatever a user can meet has its place in the docs: routes, messages, codes, hooks, names, metrics, commands."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

import gateway
from gateway import errors, hookspecs, protocol
from gateway.analyzer import Analyzer, SessionInfo
from gateway.api.asyncapi import CLIENT_MESSAGES, SERVER_MESSAGES
from gateway.app import create_app
from gateway.cli import plugin_app
from gateway.commands.plugin_new import New, plugin_new
from gateway.engine.hub import Hub
from gateway.engine.metrics import exposition
from gateway.engine.runner import STATES
from gateway.media.errors import Code
from gateway.results import Detection, Result, Sighting
from gateway.settings import Settings
from gateway.testing import fixtures
from gateway.testing.rules import RULES
from tests.structure.settings_page import built_in
from tests.structure.source import ROOT, modules

DOCS = ROOT / "docs"
AUTHORS = DOCS / "writing-an-analyzer.md"
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = sorted([*TOP, *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
FIRST_COMMAND = (
    'python3.11 -m venv .venv && .venv/bin/pip install -e ".[dev]" -c constraints.txt && .venv/bin/framegate demo'
)


def text(*names: str) -> str:
    return "\n".join((DOCS / f"{name}.md").read_text() for name in names)


def test_every_message_of_the_socket_is_documented() -> None:
    prose = text("protocol")
    client = [kind for kind in CLIENT_MESSAGES if f'`{{"type":"{kind}"' not in prose]
    server = [kind for kind in SERVER_MESSAGES if f"| `{kind}` |" not in prose]
    assert (client, server) == ([], [])


@pytest.mark.parametrize("kind", SERVER_MESSAGES)
def test_every_field_of_a_message_is_documented(kind: str) -> None:
    prose = text("protocol")
    fields = SERVER_MESSAGES[kind][1]
    assert [field for field in fields if f"`{field}`" not in prose and f'"{field}"' not in prose] == []


def test_every_close_code_is_documented() -> None:
    known = {cls.close_code for cls in _error_classes()}
    known |= {value for name, value in vars(protocol).items() if name.startswith("CLOSE_")}
    known |= set(map(int, re.findall(r"\b(?:1[0-9]{3}|4[0-9]{3})\b(?=\s*[,)])", _close_calls())))
    rows = " ".join(re.findall(r"^\| ([0-9, ]+) \|", text("protocol"), re.MULTILINE))
    documented = set(map(int, re.findall(r"[0-9]{4}", rows)))
    assert known - documented == set()


def test_every_error_code_is_documented() -> None:
    words = {cls.code for cls in _error_classes()} | set(_words_in_source())
    prose = text("http", "protocol")
    assert [word for word in sorted(words) if f"`{word}`" not in prose] == []


def test_the_status_of_an_error_is_the_documented_one() -> None:
    documented = {
        word: int(status)
        for status, words in re.findall(r"^\| ([0-9]{3}) \| ([^|]+) \|", text("http"), re.MULTILINE)
        for word in re.findall(r"`(\w+)`", words)
    }
    assert {cls.code: cls.status for cls in _error_classes()}.items() <= documented.items()


def test_every_route_is_documented() -> None:
    schema = create_app(Settings()).openapi()
    routes = [f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods]
    assert [route for route in routes if f"`{route}`" not in text("http")] == []


def test_every_query_parameter_is_documented() -> None:
    prose = text("http")
    schema = create_app(Settings()).openapi()
    missing = [
        f"{path}?{parameter['name']}"
        for path, methods in schema["paths"].items()
        for route in methods.values()
        for parameter in route.get("parameters", [])
        if parameter["in"] == "query" and not re.search(rf"[`?]{parameter['name']}[`=]", prose)
    ]
    assert missing == []


def test_every_metric_is_documented_with_its_labels() -> None:
    exposed, _ = exposition(Hub(Settings()))
    found = set(re.findall(r"^# TYPE (framegate_\w+)", exposed.decode(), re.MULTILINE))
    assert found == set(re.findall(r"^\| `(framegate_\w+)` \|", text("http"), re.MULTILINE))


def test_every_hook_is_documented_with_its_arguments() -> None:
    hooks = {
        name: inspect.signature(function)
        for name, function in vars(hookspecs).items()
        if inspect.isfunction(function) and function.__module__ == hookspecs.__name__
    }
    signatures = [f"`{name}({', '.join(signature.parameters)})`" for name, signature in hooks.items()]
    assert signatures
    assert [signature for signature in signatures if signature not in AUTHORS.read_text()] == []


def test_every_public_name_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", AUTHORS.read_text().partition("## Public names")[2], re.MULTILINE)
    assert sorted(rows) == sorted(gateway.__all__)


@pytest.mark.parametrize("cls", [SessionInfo, gateway.Frame, Result, Detection, gateway.Box, Sighting])
def test_every_field_an_author_sees_is_documented(cls: type) -> None:
    (row,) = re.findall(rf"^\| `{cls.__name__}` \|.*$", AUTHORS.read_text(), re.MULTILINE)
    names = [name for name in inspect.signature(cls).parameters if not name.startswith("_")]
    assert [name for name in names if f"`{name}`" not in row] == []


def test_everything_an_author_may_set_or_define_is_documented() -> None:
    (row,) = re.findall(r"^\| `Analyzer` \|.*$", AUTHORS.read_text(), re.MULTILINE)
    names = {name for name in (*vars(Analyzer), *Analyzer.__annotations__) if not name.startswith("_")}
    assert [name for name in sorted(names) if not re.search(rf"`{name}[`(]", row)] == []


def test_every_command_is_named_in_the_changelog_or_the_readme() -> None:
    prose = (ROOT / "README.md").read_text() + (ROOT / "CHANGELOG.md").read_text()
    commands = [
        name.rpartition(".")[2]
        for module in modules("gateway")
        if module.name == "gateway.cli"
        for name, function in module.functions()
        if any(ast.unparse(mark).startswith("app.command") for mark in function.decorator_list)
    ]
    assert commands
    assert [name for name in commands if f"`{name}`" not in prose and f"framegate {name}" not in prose] == []


def test_every_command_for_authors_is_in_their_page_with_its_options() -> None:
    page = AUTHORS.read_text()
    lacking = [
        f"framegate plugin {name} {option}"
        for name, command in get_command(plugin_app).commands.items()  # type: ignore[attr-defined]
        for option in (option for one in command.params for option in one.opts if option.startswith("--"))
        if option != "--help" and (f"framegate plugin {name}" not in page or not re.search(rf"{option}\b", page))
    ]
    assert lacking == []


def test_every_rule_of_the_conformance_check_is_in_its_table() -> None:
    table = AUTHORS.read_text().partition("## Does it keep the rules?")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule.id for rule in RULES]


def test_every_fixture_is_in_its_table() -> None:
    table = AUTHORS.read_text().partition("## Fixtures for pytest")[2].partition("\n## ")[0]
    own = [name for name, made in vars(fixtures).items() if type(made).__name__ == "FixtureFunctionDefinition"]
    assert sorted(re.findall(r"^\| `(\w+)\(", table, re.MULTILINE)) == sorted(own)


def test_every_state_of_an_analyzer_is_explained_to_authors() -> None:
    table = AUTHORS.read_text().partition("## When it goes wrong")[2].partition("\n## ")[0]
    assert [state for state in STATES if f"`{state}`" not in table.partition("\n- ")[0]] == []


def test_every_way_a_camera_fails_is_explained() -> None:
    table = (DOCS / "cameras.md").read_text().partition("| `error.code` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:])))
    of_peers = {"consent", "dtls", "ice", "sdp"}
    assert named == set(get_args(Code)) - of_peers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in _links(page) if not _leads_somewhere(page, link)]
    assert broken == []


def test_every_analyzer_has_a_card_that_the_index_links() -> None:
    index = DOCS / "analyzers" / "README.md"
    cards = {path.stem for path in index.parent.glob("*.md")} - {"README"}
    linked = {link.removesuffix(".md") for link in _links(index)}
    assert {cls.name for cls in built_in()} - cards == set()
    assert linked == cards


def test_every_page_is_linked_from_the_readme_or_another_page() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in _links(page)}
    assert [page.name for page in DOCS.glob("*.md") if page.resolve() not in linked] == []


@pytest.mark.parametrize("file", ["framegate_brightness.py", "tests/test_brightness.py"])
def test_the_code_of_the_tutorial_is_the_example(file: str) -> None:
    code = (ROOT / "examples/framegate-brightness" / file).read_text()
    assert code in re.findall(r"^```\w+\n(.*?)^```$", AUTHORS.read_text(), re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page_about_connectors_is_the_example() -> None:
    code = (ROOT / "examples/framegate-stills/framegate_stills.py").read_text()
    assert f"```python\n{code}```" in text("writing-a-connector")


@pytest.mark.parametrize("file", ["pyproject.toml", "conftest.py"])
def test_the_rest_of_the_example_is_what_plugin_new_makes(file: str, tmp_path: Path) -> None:
    assert plugin_new(New("brightness", tmp_path, licence="Apache-2.0")) == 0
    made = (tmp_path / "framegate-brightness" / file).read_text()
    assert (ROOT / "examples/framegate-brightness" / file).read_text() == made


def test_the_example_has_at_most_40_lines() -> None:
    code = (ROOT / "examples/framegate-brightness/framegate_brightness.py").read_text()
    assert code.count("\n") <= 40


def test_the_readme_has_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"\n{FIRST_COMMAND}\n" in readme
    assert "\n.venv/bin/pytest -q\n" in readme


def _error_classes() -> list[type[errors.GatewayError]]:
    found = [errors.GatewayError]
    for cls in found:
        found += cls.__subclasses__()
    return found


def _words_in_source() -> Iterator[str]:
    """Codes given as `code="..."` where an error is raised, and those of problem documents."""
    for module in modules("gateway"):
        if module.name.startswith("gateway.commands"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                if isinstance(node.value.value, str):
                    yield node.value.value
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "problem" and len(node.args) > 2:
                word = node.args[2]
                yield from [str(word.value)] if isinstance(word, ast.Constant) else []


def _close_calls() -> str:
    """Every call of something called close, as text."""
    return "\n".join(
        ast.unparse(node)
        for module in modules("gateway/connectors", "gateway/sinks", "gateway/engine")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "close"
    )


def _links(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in {
        _anchor(title) for title in re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    }


def _anchor(title: str) -> str:
    """As code hosts make them: lower case, words with dashes, no punctuation."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
