"""The text of a plugin as a syntax tree: what of it has a part in loading a model, and what of it does not.

Two texts whose loading parts are equal make equal models, so the one that is loaded may go on under the new code. In
doubt a part counts as loading: a model loaded once too often costs seconds, one too few costs a day of searching.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

LOADING = {"__init__", "__new__", "missing", "close"}
MEMORY = {"open", "configure"}
DESCRIBING = {"name", "version", "title", "needs", "wants", "labels", "event_types", "pixels", "permissions", "api"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Chosen = Callable[[ast.stmt], bool]


class Source:
    """One module's text. Raises `SyntaxError`, and `ValueError` for what is no text at all."""

    def __init__(self, text: bytes, path: str) -> None:
        self.text = text
        self._tree = ast.parse(text, path)
        self._bound: dict[str, list[ast.AST]] = {}
        for statement in self._tree.body:
            for name in _binds(statement):
                self._bound.setdefault(name, []).append(statement)

    def analyzers(self) -> set[str]:
        """Classes of this text that look at frames."""
        return {
            node.name
            for node in self._tree.body
            if isinstance(node, ast.ClassDef) and any(_name(member) == "analyze" for member in node.body)
        }

    def loads_as(self, other: Source) -> bool:
        """Whether the models of all its analyzers are loaded as those of another text are."""
        names = self.analyzers()
        return names == other.analyzers() and all(self.loading(name) == other.loading(name) for name in names)

    def loading(self, definition: str) -> frozenset[str] | None:
        """Everything that has a part in loading the model of this class; None if it is not defined in this text."""
        return self._reached(definition, _loads)

    def remembering(self, definition: str) -> frozenset[str] | None:
        """The same for making a session's memory."""
        return self._reached(definition, lambda member: _name(member) in MEMORY)

    def _reached(self, definition: str, chosen: Chosen) -> frozenset[str] | None:
        node = self._definition(definition)
        if node is None:
            return None
        if not isinstance(node, ast.ClassDef):
            return frozenset()  # a function has no model, and its memory is a dict
        own: dict[str, list[ast.stmt]] = {}
        for member in node.body:
            for name in _binds(member):
                own.setdefault(name, []).append(member)
        roots: list[ast.AST] = [*node.decorator_list, *node.bases, *node.keywords]
        roots += [member for member in node.body if chosen(member)]
        roots += [statement for statement in self._tree.body if _acts(statement)]
        return self._closure(roots, own, definition)

    def _definition(self, name: str) -> Definition | None:
        found = [node for node in self._tree.body if isinstance(node, Definition) and node.name == name]
        return found[-1] if found else None

    def _closure(self, roots: Iterable[ast.AST], own: dict[str, list[ast.stmt]], itself: str) -> frozenset[str]:
        """These parts and all that they name, as text without its layout and comments."""
        seen: dict[int, str] = {}
        todo = list(roots)
        while todo:
            part = todo.pop()
            if id(part) in seen:
                continue
            seen[id(part)] = ast.dump(part)
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and node.id != itself:
                    todo += self._bound.get(node.id, ())
                elif isinstance(node, ast.Attribute) and node.attr in own:
                    todo += own[node.attr]
        return frozenset(seen.values())


def _loads(member: ast.stmt) -> bool:
    """Whether a member of the class is, or may be, part of the model: what is written out plainly is not."""
    name = _name(member)
    if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return name in LOADING
    return not (name in DESCRIBING or _is_plain(member))


def _name(member: ast.stmt) -> str:
    return next(_binds(member), "")


def _is_plain(statement: ast.stmt) -> bool:
    """A docstring, a bare annotation, or a literal under a name."""
    if isinstance(statement, ast.Pass):
        return True
    value = getattr(statement, "value", None)
    if not isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign)):
        return False
    try:
        ast.literal_eval(value or ast.Constant(None))
    except (ValueError, TypeError):
        return False
    return True


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement of the module does something besides giving names: it might set a library up."""
    return next(_binds(statement), None) is None and not _is_plain(statement)


def _binds(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement gives to something, in a block of its own too; not those inside a definition."""
    if isinstance(statement, Definition):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, Definition):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
