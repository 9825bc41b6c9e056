"""A PostgreSQL for tests of other processes: prints its folder, and ends with its input.

`python -m tests.support.postgres_holder`, and `pytest --postgres-data FOLDER`.
"""

from __future__ import annotations

import sys

from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.databases import FAST, hash_password_once, reachable_folder


def main() -> None:
    with reachable_folder() as folder, EmbeddedPostgres(folder, settings=FAST) as server:
        hash_password_once(server)
        print(folder, flush=True)  # noqa: T201 - the other process reads it
        sys.stdin.read()


if __name__ == "__main__":
    main()
