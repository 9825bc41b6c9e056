"""`executions work`: does the background work of a log in a process of its own."""

from __future__ import annotations

from pathlib import Path

from api.cli.open_log import log_of
from api.database import keep_running
from api.embedded_postgres.data_dir import DataDir
from api.log_keys import keys_of_log, require_key_of_log, settle_name
from api.settings import read
from api.work_task import task_of, work_until_stopped


def work(data_dir: Path | None) -> None:
    """Do the background work until a signal."""
    with log_of(data_dir, require_key_of_log, begin_again=True) as (known, _):
        settings = settle_name(read(data_dir=data_dir), known.serving)
        keys = keys_of_log(known.serving, settings, DataDir(settings.data_dir))
        task = task_of(settings, known.serving, keys, known.as_named[:2])
        work_until_stopped(task, lambda: keep_running(known.postgres))
