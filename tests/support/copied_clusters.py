"""New PostgreSQL clusters as copies of the first one: `initdb` takes a third of a second of CPU, a copy a tenth."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.embedded_postgres.cluster import Cluster, RunAs
from tests.support.databases import reachable_folder


@contextmanager
def copied_clusters() -> Iterator[None]:
    """While the block runs, `initdb` runs once per PostgreSQL, and its result is copied for further clusters.

    They have the same password and system identifier.
    """
    init = Cluster.init
    with reachable_folder() as folder, pytest.MonkeyPatch.context() as patch:

        def copy_or_init(cluster: Cluster, programs: Path, run_as: RunAs) -> None:
            kept = Cluster(folder / str(programs).replace("/", "_"))
            if (cluster.data / "PG_VERSION").exists():
                return
            if not kept.data.exists():
                init(cluster, programs, run_as)
                kept.data.mkdir(parents=True)
                copy(cluster.data, kept.data)
                shutil.copyfile(cluster.password, kept.password)
                return
            unfinished = cluster._make_unfinished()
            copy(kept.data, unfinished)
            run_as.write(cluster.password, kept.password.read_text())
            unfinished.rename(cluster.data)

        patch.setattr(Cluster, "init", copy_or_init)
        yield


def copy(source: Path, target: Path) -> None:
    """Copy the contents of a folder to another one, which gets the same owner and mode."""
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
