"""`fields=`: selects the members of a document that a client asks for, in the order of the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from domain.errors import Invalid
from projections.query.field_paths import Keys, readings, segments
from projections.representations.client_json import plain_json
from projections.representations.exact_json import exact_json
from projections.representations.execution_schema import ServiceExecution

MOST_FIELDS = 100
"""The members that `fields` may name."""

Tree = dict[str, "Tree"]


class Selection:
    """Selected members of a document, by path. A path through a list selects the member of each element."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.deep = any(self._tree.values())
        """Whether parts of members are selected, which may be inside of sealed values."""

    def has(self, member: str) -> bool:
        """Whether a member is selected, or a part of it."""
        return member in self._tree

    def members(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The members of which a part or the whole is selected, each as a whole."""
        return {name: document[name] for name in document if name in self._tree}

    def select(self, document: Mapping[str, Any]) -> Any:
        """The selected members of a document that was decrypted."""
        members = self.members(document)
        return self.of(exact_json(plain_json(members))) if self.deep else members

    def of(self, document: Any) -> Any:
        """The selected members of a document; members that it does not have are left out."""
        return _select(document, self._tree)


def selection(names: Sequence[str]) -> Selection | None:
    """The selection of the names in `fields`; None where there are no names.

    Raises:
        Invalid: there is no such member, or there are too many names.
    """
    if not names:
        return None
    if len(names) > MOST_FIELDS:
        raise Invalid.field("fields", f"at most {MOST_FIELDS} members can be chosen")
    tree: Tree = {}
    for name in names:
        paths = [keys for keys in readings(segments(name)) if keys and _is_known(keys)]
        if not paths:
            known = ", ".join(_properties(_schema()))
            raise Invalid.field(
                "fields", f"names `{name}`, which is no member of an execution (known: {known})"
            )
        for keys in paths:
            _add(tree, keys)
    return Selection(tree)


def _add(tree: Tree, keys: Keys) -> None:
    for index, key in enumerate(keys, 1):
        if key in tree and not tree[key]:
            return  # the whole member is selected already
        tree = tree.setdefault(key, {})
        if index == len(keys):
            tree.clear()


def _select(value: Any, tree: Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_select(element, tree) for element in value]
    if isinstance(value, dict):
        return {key: _select(value[key], tree[key]) for key in value if key in tree}
    return value


@cache
def _schema() -> dict[str, Any]:
    return ServiceExecution.model_json_schema()


def _is_known(keys: Keys) -> bool:
    """Whether a document may have a member at this path, by its JSON schema."""
    return _allows_path(_schema(), keys)


def _allows_path(schema: Any, keys: Keys) -> bool:
    if "$ref" in schema:
        schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    if any(_allows_path(part, keys) for part in schema.get("anyOf", ())):
        return True
    if "items" in schema:
        return _allows_path(schema["items"], keys)
    if not keys:
        return True
    properties = _properties(schema)
    if keys[0] in properties:
        return _allows_path(properties[keys[0]], keys[1:])
    return _is_free(schema)


def _is_free(schema: Mapping[str, Any]) -> bool:
    """Whether the value may be anything that a client has put there."""
    return bool(schema.get("additionalProperties")) or not {"type", "anyOf", "enum"} & schema.keys()


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    return schema.get("properties") or {}
