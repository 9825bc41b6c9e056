"""Recognizes the kind of a wrong file by its first bytes."""

import codecs

START = 256
"""Bytes at the beginning of a file that are examined."""

_MAGIC = (
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"BZh", "a bzip2 file: unpack it first"),
    (b"\xfd7zXZ\x00", "an xz file: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a rar archive: unpack it first"),
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
_HTML = (b"<!doctype html", b"<html")
WEB_PAGE = "a web page (HTML): perhaps the page of the download was saved instead of the file"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def other_kind(start: bytes) -> str | None:
    """The kind of a file that is neither XML nor JSON, by its first bytes; None where it is unknown."""
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    text = start.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    return WEB_PAGE if text.startswith(_HTML) else None


def instead_of_xml(start: bytes) -> str | None:
    """The kind of a file that is not XML; None where it may be XML."""
    if not start:
        return "an empty file"
    if kind := other_kind(start):
        return kind
    if start.startswith(_UTF_16):
        return None
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith((b"{", b"[")):
        return "JSON"
    return None if text.startswith(b"<") or not _is_text(text) else "plain text"


def instead_of_json(start: bytes) -> str | None:
    """The kind of a file that is not JSON in UTF-8; None where it may be that."""
    if not start:
        return "an empty file"
    if kind := other_kind(start):
        return kind
    if start.startswith(_UTF_16):
        return "in UTF-16: save it as UTF-8"
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    return "XML" if text.startswith(b"<") else None


def _is_text(start: bytes) -> bool:
    return b"\0" not in start
