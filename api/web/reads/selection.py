"""`fields=`: the members of a document that a client wants to see, in the order of the document."""

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

Tree = dict[str, "Tree"]


class Selection:
    """Members by their paths. Of a list, those of each of its elements are meant."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.deep = any(self._tree.values())
        """Whether parts of members are chosen, which may be inside of what is sealed."""

    def has(self, member: str) -> bool:
        """Whether a member is chosen, or a part of it."""
        return member in self._tree

    def members(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The chosen members, each as a whole."""
        return {name: document[name] for name in document if name in self._tree}

    def select(self, document: Mapping[str, Any]) -> Any:
        """What was chosen of a document that has been opened."""
        members = self.members(document)
        return self.of(exact_json(plain_json(members))) if self.deep else members

    def of(self, document: Any) -> Any:
        """What was chosen of the document; what it does not have is left out."""
        return _select(document, self._tree)


def selection(names: Sequence[str]) -> Selection | None:
    """What `fields` asks for; None where it asks for nothing in particular.

    Raises:
        Invalid: there is no such member, or there are too many of them.
    """
    if not names:
        return None
    if len(names) > MOST_FIELDS:
        raise Invalid.field("fields", f"at most {MOST_FIELDS} members can be chosen")
    tree: Tree = {}
    for name in names:
        ways = [keys for keys in readings(segments(name)) if keys and _is_known(keys)]
        if not ways:
            known = ", ".join(_properties(_document()))
            raise Invalid.field("fields", f"`{name}` is no member of an execution (known: {known})")
        for keys in ways:
            _add(tree, keys)
    return Selection(tree)


def _add(tree: Tree, keys: Keys) -> None:
    for index, key in enumerate(keys, 1):
        if key in tree and not tree[key]:
            return  # the whole of it is chosen already
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
def _document() -> dict[str, Any]:
    return ServiceExecution.model_json_schema()


def _is_known(keys: Keys) -> bool:
    """Whether a document may have a member there, by its JSON schema."""
    return _leads(_document(), keys)


def _leads(schema: Any, keys: Keys) -> bool:
    if "$ref" in schema:
        schema = _document()["$defs"][schema["$ref"].rpartition("/")[2]]
    if any(_leads(part, keys) for part in schema.get("anyOf", ())):
        return True
    if "items" in schema:
        return _leads(schema["items"], keys)
    if not keys:
        return True
    properties = _properties(schema)
    if keys[0] in properties:
        return _leads(properties[keys[0]], keys[1:])
    return _is_free(schema)


def _is_free(schema: Mapping[str, Any]) -> bool:
    """Whether clients may have put anything there."""
    return bool(schema.get("additionalProperties")) or not {"type", "anyOf", "enum"} & schema.keys()


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    return schema.get("properties") or {}
