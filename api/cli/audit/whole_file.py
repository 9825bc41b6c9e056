"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import click


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, and put it there once it is whole.

    Raises:
        ClickException: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
