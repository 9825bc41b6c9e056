"""Writes files atomically."""

from __future__ import annotations

from pathlib import Path

import click


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, and rename it when it is complete.

    Raises:
        ClickException: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
