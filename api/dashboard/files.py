"""The built files of the dashboard, read once into memory: some hundred kilobytes."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

INDEX = "index.html"
FOLDER = Path(__file__).parent / "dist"
"""The folder into which `scripts/dashboard` writes the files, also in a built wheel."""
COMPRESSED = frozenset({"text/html", "text/css", "text/javascript", "image/svg+xml"})


class File(NamedTuple):
    """One file: its bytes, the compressed bytes where compression helps, its media type and ETag."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str


def read_files() -> Mapping[str, File]:
    """The files by path, such as `assets/index-1a2b.js`; empty where the dashboard was not built."""
    return {
        path.relative_to(FOLDER).as_posix(): _read(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _read(path: Path) -> File:
    content = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    compressed = gzip.compress(content, mtime=0) if media_type in COMPRESSED else None
    return File(content, compressed, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
