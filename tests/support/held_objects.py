"""The objects that an object references, directly and indirectly, such as a cache among them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any

CODE = (
    *(ModuleType, FunctionType, BuiltinFunctionType, type, CodeType),
    *(FrameType, CoroutineType, GeneratorType, AsyncGeneratorType),
)
"""Objects that are not entered: they reference the whole program, or what is running."""


def texts_held_by(root: Any) -> Iterator[bytes]:
    """Every text, and all bytes, that an object references, directly or indirectly."""
    seen, pending = {id(root)}, [root]
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            yield found.encode("utf-8", "surrogatepass")
        elif isinstance(found, bytes | bytearray | memoryview):
            yield bytes(found)
        for each in gc.get_referents(found):
            if id(each) not in seen and not isinstance(each, CODE):
                seen.add(id(each))
                pending.append(each)
