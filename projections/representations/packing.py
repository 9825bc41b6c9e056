"""Compresses the documents of executions for storage, with a dictionary of what most documents share.

The compressed bytes depend on the version of Zstandard, so two documents are compared after they are unpacked.
"""

from __future__ import annotations

import threading
import zlib
from importlib.resources import files

from zstandard import (
    FRAME_HEADER,
    ZstdCompressionDict,
    ZstdCompressionParameters,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    frame_content_size,
)

MARK = FRAME_HEADER
"""The first bytes of a packed document. JSON never begins with them."""
LARGEST = 8 * 1024
"""Bytes of a document up to which it is packed: PostgreSQL compresses larger ones by itself."""
LEVEL = 3
FILE = "documents.dictionary"
"""The file of the dictionary, which `bench/dictionary.py` makes."""
DICTIONARY = files(__package__).joinpath(FILE).read_bytes()
FORM = f"{zlib.crc32(DICTIONARY):08x}"
"""Identifies the dictionary: documents packed with another one cannot be unpacked with this one."""


class _Packer(threading.local):
    """A compressor and a decompressor for each thread."""

    def __init__(self) -> None:
        dictionary = ZstdCompressionDict(DICTIONARY)
        parameters = ZstdCompressionParameters.from_level(
            LEVEL, source_size=LARGEST, dict_size=len(DICTIONARY), write_dict_id=False
        )
        compressor = ZstdCompressor(dict_data=dictionary, compression_params=parameters)
        self.compress = compressor.compress
        self.decompress = ZstdDecompressor(dict_data=dictionary).decompress


_packer = _Packer()


def pack(document: bytes) -> bytes:
    """Return a document as it is stored: packed, or unchanged if it is larger than `LARGEST`."""
    return document if len(document) > LARGEST else _packer.compress(document)


def unpack(stored: bytes) -> bytes:
    """Return the document from its stored form.

    Raises:
        ValueError: the stored bytes are damaged.
    """
    if not stored.startswith(MARK):
        return stored
    try:
        if not 0 <= frame_content_size(stored) <= LARGEST:  # so much memory is taken
            raise ValueError("is larger than any packed document")
        return _packer.decompress(stored, allow_extra_data=False)
    except ZstdError as error:
        raise ValueError(str(error)) from error


def same(one: object, other: object) -> bool:
    """Whether two stored values are equal; packed documents are unpacked and compared."""
    if one == other or not (isinstance(one, bytes) and isinstance(other, bytes)):
        return one == other
    try:
        return unpack(one) == unpack(other)
    except ValueError:
        return False
