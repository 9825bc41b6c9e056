"""The program `executions` without the access log and without sealing, to measure what these cost. It is no setting of
the product: a log that it has written is worth nothing.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import bench.unrecorded  # noqa: F401 - takes the access log away
from api.cli.main import main
from domain.eventlog.encryption import DataKey


def plain(_: DataKey, content: bytes, version: int) -> str:
    """A token that hides nothing."""
    return f"{version}.{urlsafe_b64encode(content).decode()}"


def readable(_: DataKey, token: str) -> bytes:
    """What such a token holds."""
    return urlsafe_b64decode(token.partition(".")[2])


DataKey.seal = plain  # type: ignore[assignment, method-assign]
DataKey.open = readable  # type: ignore[assignment, method-assign]
if __name__ == "__main__":
    main()
