"""The program `executions` without the access log and without sealing, to measure their costs. It is not a setting of the
product: other programs cannot read a log that it has written.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import bench.unrecorded  # noqa: F401 - disables the access log
from api.cli.main import main
from domain.eventlog.encryption import DataKey


def plain(_: DataKey, content: bytes, version: int) -> str:
    """Return content as a token without encrypting it."""
    return f"{version}.{urlsafe_b64encode(content).decode()}"


def readable(_: DataKey, token: str) -> bytes:
    """Return the content of such a token."""
    return urlsafe_b64decode(token.partition(".")[2])


DataKey.seal = plain  # type: ignore[assignment, method-assign]
DataKey.open = readable  # type: ignore[assignment, method-assign]
if __name__ == "__main__":
    main()
