"""Generates the synchronous half of the SDK from the asynchronous half, which is written by hand."""

from __future__ import annotations

import ast
import re
from typing import Any

NAMES = {
    "_async": "_sync",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
    "aiter_text": "iter_text",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
    "StopAsyncIteration": "StopIteration",
}
UNWRAPPED = {"Awaitable": 0, "Coroutine": 2}
"""Types of awaitables, and the index of the argument that is the type of the value."""
HEADER = '"""Made by scripts/sdk of the file of this name in `_async`: do not edit."""\n'
WORD = re.compile(r"\b(Async|async |await )(?=\w)")


def synchronous(source: str) -> str:
    """Return the unformatted synchronous module of an asynchronous one."""
    tree = _Synchronous().visit(ast.parse(source))
    return HEADER + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def rename(name: str) -> str:
    """Return a name as in the synchronous half: `AsyncClient` becomes `Client`."""
    parts = (NAMES.get(part, part) for part in name.split("."))
    return ".".join(re.sub(r"^(_?)Async(?=[A-Z])", r"\1", part) for part in parts)


class _Synchronous(ast.NodeTransformer):
    def visit_Module(self, node: ast.Module) -> Any:
        """Drop the docstring, which the header replaces."""
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        members = {name: getattr(node, name) for name in node._fields}
        return self.visit(ast.copy_location(ast.FunctionDef(**members), node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.name = rename(node.name)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        node.name = rename(node.name)
        self.generic_visit(node)
        return node

    def visit_Await(self, node: ast.Await) -> Any:
        return self.visit(node.value)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        return self.visit(ast.copy_location(ast.With(node.items, node.body), node))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        loop = ast.For(node.target, node.iter, node.body, node.orelse)
        return self.visit(ast.copy_location(loop, node))

    def visit_comprehension(self, node: ast.comprehension) -> Any:
        node.is_async = 0
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> Any:
        node.id = rename(node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        node.attr = rename(node.attr)
        self.generic_visit(node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id in UNWRAPPED:
            kept = UNWRAPPED[node.value.id]
            inner = node.slice
            return self.visit(inner.elts[kept] if isinstance(inner, ast.Tuple) else inner)
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        node.module = node.module and rename(node.module)
        self.generic_visit(node)
        return node

    def visit_alias(self, node: ast.alias) -> Any:
        node.name = rename(node.name)
        return node

    def visit_Constant(self, node: ast.Constant) -> Any:
        """Replace names in texts and docstrings by those of the synchronous half."""
        if isinstance(node.value, str):
            node.value = WORD.sub("", NAMES.get(node.value, node.value))
        return node
