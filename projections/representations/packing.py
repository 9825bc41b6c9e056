"""Compresses the documents of executions for storage, with a dictionary of the text that most documents share.

The compressed bytes depend on the version of zlib, so two documents are compared after they are unpacked.
"""

from __future__ import annotations

import zlib

MARK = b"\1"
"""The first byte of a packed document. JSON never begins with it."""
LARGEST = 8 * 1024
"""Bytes of a document up to which it is packed: PostgreSQL compresses larger ones by itself."""
WINDOW, MEMORY, LEVEL = -13, 5, 3
"""Arguments of zlib: a window of 8 KiB without a header, and a small hash table. Allocating a large one would take longer
than packing a document."""

DICTIONARY = (
    b'"forkedFrom":{"execution":"exec_","version":"checkpoint":"timestamp":"state":{"'
    b'"pause":{"by":"url":"events":["execution.*"],"headers":{"format":"json"'
    b'"retryPolicy":{"maxRetries":3,"backoff":"exponential","initialDelay":1000,"maxDelay":60000,"jitter":"full"}'
    b'"parent":"kind":"human","assignee":{"type":"system","type":"hybrid","type":"human","id":"'
    b'"status":"cancelled","progress":50,"status":"failed","progress":'
    b'"stack":"outcome":"completed","worker":"worker-1"}'
    b'"duration":0,"input":{"$sealed":"3."},"output":{"$sealed":"4."},"metrics":{"tokensUsed":'
    b'"status":"skipped"}],"checkpoints":[],"attempts":[{"number":1,"startedAt":"2026-11-01T00:00:00.000Z",'
    b'"endedAt":"2026-12-01T00:00:00.000Z","outcome":"cancelled"}],"metrics":'
    b'"outcome":"failed","error":{"code":"E_TIMEOUT","message":{"$sealed":"5."},"recoverable":false,"retryCount":0}}],'
    b'{"$type":"ServiceExecution","$id":"execution-exec_01","order":"order-","service":"service-","workflow":"'
    b'"customer":"customer-","provider":"provider-","status":"completed","progress":100,"assignee":{"type":"ai-agent",'
    b'"id":"agent-","name":"Agent ","model":"gpt-5"},"cancellation":{"reason":{"$sealed":"7."},"by":"admin","at":"2026-11-01T00:00:00.000Z"},'
    b'"result":{"$sealed":"7."},'
    b'"error":{"code":"E_TIMEOUT","message":{"$sealed":"7."},"step":"","recoverable":false,"retryCount":0},"steps":[{"id":"step","name":"'
    b'","status":"completed","startedAt":"2026-11-01T00:00:00.000Z","completedAt":"2026-12-01T00:00:00.000Z",'
    b'"duration":0,"metrics":{"tokensUsed":0,"cost":0,"currency":"USD","apiCalls":0}},{"id":"","name":"'
    b'","status":"pending"}],"checkpoints":[],"attempts":[{"number":1,"startedAt":"2026-11-01T00:00:00.000Z",'
    b'"endedAt":"2026-12-01T00:00:00.000Z","outcome":"completed"}],"metrics":{"startedAt":"2026-11-01T00:00:00.000Z",'
    b'"completedAt":"2026-12-01T00:00:00.000Z","duration":0,"durationFinal":true,"activeDuration":0,'
    b'"tokensUsed":0,"cost":0,"currency":"USD","apiCalls":0,"retries":0,"stepsCompleted":1,"stepsTotal":2},'
    b'"priority":"normal","timeout":3600000,"webhooks":[],"tags":["'
    b'"],"metadata":{"createdAt":"2026-11-01T00:00:00.000Z","updatedAt":"2026-12-01T00:00:00.000Z",'
    b'"startedAt":"2026-11-01T00:00:00.000Z","completedAt":"2026-12-01T00:00:00.000Z","environment":"production",'
    b'"version":"1.0"},"version":7,"position":1'
)
"""Text of typical documents, rare text first: references to text near the end of the dictionary take the fewest bits."""
FORM = f"{zlib.crc32(DICTIONARY):08x}"
"""Identifies the dictionary: documents packed with another one cannot be unpacked with this one."""

_compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW, MEMORY, zdict=DICTIONARY)


def pack(document: bytes) -> bytes:
    """Return a document as it is stored: packed after `MARK`, or unchanged if it is larger than `LARGEST`."""
    if len(document) > LARGEST:
        return document
    compressor = _compressor.copy()
    return MARK + compressor.compress(document) + compressor.flush()


def unpack(stored: bytes) -> bytes:
    """Return the document from its stored form.

    Raises:
        ValueError: the stored bytes are damaged.
    """
    if not stored.startswith(MARK):
        return stored
    decompressor = zlib.decompressobj(WINDOW, DICTIONARY)
    try:
        document = decompressor.decompress(stored[len(MARK) :], LARGEST + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("does not end where it should")
    return document


def same(one: object, other: object) -> bool:
    """Whether two stored values are equal; packed documents are unpacked and compared."""
    if one == other or not (isinstance(one, bytes) and isinstance(other, bytes)):
        return one == other
    try:
        return unpack(one) == unpack(other)
    except ValueError:
        return False
