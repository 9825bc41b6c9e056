"""Trains the dictionary with which documents of executions are packed, from the documents that databases have.

`python -P -m bench.dictionary CONNINFO...` replaces the file. All databases have the same weight. The form of the view names
the dictionary, so the view is made again from the log at the next start.
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import zstandard

from projections.representations import packing

SIZE = 8 * 1024
"""Bytes of the dictionary. Twice as many save 5 % of a document, of those that it was trained on."""
SAMPLES = 600
"""Documents of each database. Where there are fewer, they are repeated."""
DOCUMENTS = "SELECT document FROM executions.execution_documents ORDER BY md5(id) LIMIT %s"


def train(conninfos: list[str]) -> bytes:
    """The dictionary for the documents of some databases."""
    samples: list[bytes | bytearray | memoryview[int]] = []
    for conninfo in conninfos:
        found = [text for text in _documents(conninfo) if len(text) <= packing.LARGEST]
        samples += (found * SAMPLES)[:SAMPLES]
    return zstandard.train_dictionary(SIZE, samples, level=packing.LEVEL).as_bytes()


def _documents(conninfo: str) -> list[bytes]:
    with psycopg.connect(conninfo) as connection:
        return [
            packing.unpack(document)
            for (document,) in connection.execute(DOCUMENTS, (SAMPLES,)).fetchall()
        ]


if __name__ == "__main__":
    Path(packing.__file__).with_name(packing.FILE).write_bytes(train(sys.argv[1:]))
