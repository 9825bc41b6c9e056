"""What an object holds, and what that holds, and so on: a cache among it."""

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
"""What is not gone into: from there all of the program is reached, and what just goes on."""


def texts_held_by(root: Any) -> Iterator[bytes]:
    """Every text, and all bytes, that are reached from an object by way of its data."""
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
